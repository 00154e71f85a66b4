//! The one folder that holds everything of a service.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use minions_core::config::Environment;
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::host::lookup::{DEFAULT_DIRS, find_in};
use minions_core::host::preflight::{FindingStatus, socket_paths};
use minions_core::types::HostId;

use crate::place::SOCKET;

/// The longest name of a socket below the folder: that of a VM's door.
const LONGEST: usize = "vms/vm_00000000000000000000000000/v_4294967295".len();

/// A service's folder, by its absolute path.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
    /// Where Cloud Hypervisor is, where somebody has said so.
    cloud_hypervisor: Option<PathBuf>,
}

impl Folder {
    /// A folder whose path leaves room for sockets. Nothing is made yet.
    pub fn at(dir: &Path) -> Result<Self> {
        let absolute = std::path::absolute(dir)
            .map_err(|error| Error::invalid("dir", format!("{} cannot be found", dir.display())).with_source(error))?;
        // Programs that are given paths below it take a comma for the end of one, and nothing but text.
        if absolute.to_str().is_none_or(|text| text.chars().any(|letter| letter == ',' || letter.is_control())) {
            let message = "the folder's path is not UTF-8, or holds a comma or a control character; use another";
            return Err(Error::invalid("dir", message));
        }
        let finding = socket_paths(&absolute, LONGEST);
        if finding.status == FindingStatus::Fail {
            let message = format!("{}; use a shorter folder, such as /srv/minions", finding.message);
            return Err(Error::invalid("dir", message));
        }
        Ok(Self { dir: absolute, cloud_hypervisor: None })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    /// Programs that a service brings along.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// Where a program lies: in the folder, beside this one, or where programs usually do. One that is nowhere is named
    /// anyway, for whoever needs it to miss.
    pub fn program(&self, name: &str) -> PathBuf {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
        let usual = DEFAULT_DIRS.map(PathBuf::from);
        let places: Vec<PathBuf> = std::iter::once(self.bin()).chain(beside).chain(usual).collect();
        find_in(&places, name).unwrap_or_else(|| self.bin().join(name))
    }

    /// With what the environment says of where programs lie.
    pub fn with(self, environment: &Environment) -> Self {
        Self { cloud_hypervisor: environment.cloud_hypervisor.clone(), ..self }
    }

    /// Cloud Hypervisor's program.
    pub fn cloud_hypervisor(&self) -> PathBuf {
        self.cloud_hypervisor.clone().unwrap_or_else(|| self.program("cloud-hypervisor"))
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn vms(&self) -> PathBuf {
        self.dir.join("vms")
    }

    /// Makes it, and takes it for this process alone.
    pub async fn take(&self) -> Result<Lock> {
        // What this process makes is nobody else's, from the first moment on.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(self.state()).map_err(|error| failed("make", &self.state(), error))?;
        let meta = fs::metadata(&self.dir).map_err(|error| failed("look at", &self.dir, error))?;
        let own = rustix::process::geteuid().as_raw();
        if meta.uid() != own && meta.uid() != 0 {
            let message =
                format!("{} belongs to the user {}, who could change it under us", self.dir.display(), meta.uid());
            return Err(Error::new(ErrorKind::Denied, message).with_field("dir"));
        }
        if meta.mode() & 0o022 != 0 {
            let message = format!("others may write to {0}; run: chmod 700 {0}", self.dir.display());
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let path = self.dir.join("minions.lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|error| failed("open", &path, error))?;
        let Some(file) = locked(file).await.map_err(|error| failed("lock", &path, error))? else {
            let message = format!("another service runs in {}; stop it, or use another --dir", self.dir.display());
            return Err(Error::new(ErrorKind::Conflict, message).with_reason("in_use"));
        };
        let pid = self.dir.join("minions.pid");
        fs::write(&pid, format!("{}\n", std::process::id())).map_err(|error| failed("write", &pid, error))?;
        Ok(Lock { _file: file, pid })
    }

    /// This host's id, made at the first start.
    pub fn host(&self, env: &Env) -> Result<HostId> {
        let path = self.state().join("host");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let id = HostId::from_bits(env.ids.next_bits());
                self.note("host", &id.to_string()).map(|()| id)
            }
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    /// This host's id, where a service has begun here.
    pub fn noted_host(&self) -> Option<HostId> {
        fs::read_to_string(self.state().join("host")).ok()?.trim().parse().ok()
    }

    /// The backend that runs its VMs, where one has.
    pub fn noted_backend(&self) -> Option<String> {
        fs::read_to_string(self.state().join("backend")).ok().map(|text| text.trim().to_owned())
    }

    /// Refuses a folder whose VMs another backend runs; notes it at the first start.
    pub fn belongs_to(&self, backend: &str) -> Result<()> {
        let path = self.state().join("backend");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim() == backend => Ok(()),
            Ok(text) => {
                let (dir, other) = (self.dir.display(), text.trim());
                let message =
                    format!("the VMs in {dir} are of the backend {other:?}; use another --dir for {backend:?}");
                Err(Error::new(ErrorKind::Conflict, message).with_reason("other_backend"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.note("backend", backend),
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    /// Writes a word so that it is there whole or not at all.
    fn note(&self, name: &str, word: &str) -> Result<()> {
        let (path, part) = (self.state().join(name), self.state().join(format!(".{name}")));
        let written = File::create(&part).and_then(|mut file| {
            writeln!(file, "{word}")?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(self.state())?.sync_all()
        });
        written.map_err(|error| failed("write", &path, error))
    }
}

/// How long to wait for a folder whose service has ended. A program that it was about to start when it was killed has a
/// copy of its lock until it is that program: a matter of milliseconds, more where many want to run.
const PATIENCE: Duration = Duration::from_secs(3);

/// The file, locked; `None` where somebody keeps its lock.
async fn locked(file: File) -> std::io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // A thread of its own: one that waits in vain goes with the process, and keeps nobody from ending it.
    let (to, from) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let locked = file.lock().map(|()| file);
        // Whoever has given up does not want it any more.
        let _ = to.send(locked);
    })?;
    match tokio::time::timeout(PATIENCE, from).await {
        Ok(Ok(locked)) => locked.map(Some),
        Ok(Err(gone)) => Err(std::io::Error::other(gone)),
        Err(_) => Ok(None),
    }
}

/// Held for as long as the service runs.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    pid: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that is left names a process that is gone, which the lock tells.
        let _ = fs::remove_file(&self.pid);
    }
}

fn failed(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot {verb} {}", path.display())).with_source(error)
}
