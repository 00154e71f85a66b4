//! The processes of monitors: started in the hands of their keys, and found again by them.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;

use super::VmmConfig;
use crate::host::key::{self, Holders};
use crate::host::process::Process;
use crate::host::spawn::{Detached, Spawned, spawn};
use crate::host::{files, inotify, socket};

/// How often, and how long apart, a key is asked for whose holder cannot be seen: two seconds in all.
const MOMENTS: u32 = 400;
const MOMENT: Duration = Duration::from_millis(5);

/// How long a process may take until it listens. On a machine that is busy to its neck a start takes seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Who holds which key, as last seen. Locked while the host's processes are searched, never across an await.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Arc<Mutex<Holders>>);

/// A process that is about to be started.
#[derive(Debug)]
pub(super) struct Start {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub dir: PathBuf,
    /// Where its key lies.
    pub key: PathBuf,
    pub output: Option<File>,
}

/// Why it was not started.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// Its key could not be had.
    Key(io::Error),
    /// The program could not be run.
    Program(io::Error),
}

impl Keys {
    /// Who holds these keys. A key in the hands of somebody who cannot be seen is that of a process which is being born or
    /// is dying: a matter of moments, after which it is asked again.
    pub async fn holders<const N: usize>(&self, keys: [PathBuf; N]) -> io::Result<[Option<Process>; N]> {
        let mut moments = MOMENTS;
        loop {
            match self.look(keys.clone()).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && moments > 0 => {
                    moments -= 1;
                    tokio::time::sleep(MOMENT).await;
                }
                found => return found,
            }
        }
    }

    async fn look<const N: usize>(&self, keys: [PathBuf; N]) -> io::Result<[Option<Process>; N]> {
        let known = self.0.clone();
        let search = move || -> io::Result<[Option<Process>; N]> {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut found = [const { None }; N];
            for (place, key) in found.iter_mut().zip(&keys) {
                *place = known.find(key)?;
            }
            Ok(found)
        };
        tokio::task::spawn_blocking(search).await.map_err(io::Error::other)?
    }

    /// Takes the key and starts the process that holds it from then on. Both happen without a stop in between: a caller
    /// that is gone leaves either nothing or a process that is found by its key.
    pub async fn start(&self, start: Start) -> Result<Spawned, NotStarted> {
        let known = self.0.clone();
        let work = move || -> Result<Spawned, NotStarted> {
            let Start { program, args, dir, key, output } = start;
            let key = key::take(&key).map_err(NotStarted::Key)?.ok_or_else(|| {
                NotStarted::Key(io::Error::new(io::ErrorKind::WouldBlock, "somebody holds the key of a VM"))
            })?;
            let id = files::FileId::of(&key).map_err(NotStarted::Key)?;
            let spawned = spawn(Detached { program: &program, args: &args, dir: &dir, key, output, user: None })
                .map_err(NotStarted::Program)?;
            known.lock().unwrap_or_else(PoisonError::into_inner).note(id, spawned.process.pid());
            Ok(spawned)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(started) => started,
            Err(error) => Err(NotStarted::Key(io::Error::other(error))),
        }
    }
}

/// What came of waiting for a process to listen.
#[derive(Debug)]
pub(super) enum Listens {
    /// It does.
    Reached(UnixStream),
    /// It has ended before.
    Died,
    /// Neither, in time.
    Mute,
}

/// The connection to the socket that a process makes, or the reason why it never will.
pub(super) async fn listens(process: &Process, path: &Path) -> io::Result<Listens> {
    let outcome = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            stream = inotify::connect_when_there(path) => {
                let stream = stream?;
                socket::answers(&stream, process.pid())?;
                Ok(Listens::Reached(stream))
            }
            ended = process.exited() => ended.map(|()| Listens::Died),
        }
    });
    outcome.await.unwrap_or(Ok(Listens::Mute))
}

/// The words that a process was started with; `None` where it is gone in the meantime.
pub(super) fn words(process: &Process) -> io::Result<Option<Vec<String>>> {
    match process.args() {
        Ok(words) => Ok(Some(words)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first file of a VM that is not there: nothing is started without it.
pub(super) fn missing(config: &VmmConfig) -> io::Result<Option<(&'static str, PathBuf)>> {
    let boot = [("kernel", &config.boot.kernel), ("initrd", &config.boot.initrd)];
    let disks = config.disks.iter().map(|disk| ("disk", &disk.path));
    for (what, path) in boot.into_iter().chain(disks) {
        match std::fs::metadata(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some((what, path.clone()))),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
