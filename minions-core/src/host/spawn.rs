//! Starts processes that outlive the daemon.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::unix::AsyncFd;

use super::process::{Process, watch};

/// The most that a process may ever say on its standard error.
pub const MAX_ERRORS: u64 = 64 << 10;

/// How much sooner than others it is ended where memory is short; the most is 1000.
const OOM_SCORE: &str = "500";

/// How a long-lived process is started.
#[derive(Debug)]
pub struct Detached<'a> {
    /// The program's absolute path.
    pub program: &'a Path,
    /// Its words.
    pub args: &'a [OsString],
    /// The folder it works in.
    pub dir: &'a Path,
    /// A taken [`key`](super::key), which becomes its standard input.
    pub key: File,
    /// What becomes its standard output; nothing unless given.
    pub output: Option<File>,
    /// The user and group it runs as, where they are not ours.
    pub user: Option<(u32, u32)>,
}

/// A process that was just started.
#[derive(Debug)]
pub struct Spawned {
    /// The process.
    pub process: Process,
    errors: File,
}

impl Spawned {
    /// What it said on its standard error until now, for people.
    #[must_use]
    pub fn errors(&self) -> String {
        let mut bytes = Vec::new();
        let mut file = &self.errors;
        // A process that failed is reported even if its words cannot be read.
        if file.seek(SeekFrom::Start(0)).is_ok() {
            let _ = file.take(MAX_ERRORS).read_to_end(&mut bytes);
        }
        bytes.retain(|&byte| byte != 0);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// A file of fixed size in memory: whatever a guest makes its monitor complain about, it fills no disk. A full one
/// refuses to be written, which both programs that we start ignore.
fn bounded_file() -> io::Result<File> {
    let fd = memfd_create("minions-errors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, MAX_ERRORS)?;
    fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(File::from(fd))
}

/// Starts it in a process group of its own, with an empty environment. It gets no signal of our terminal, and has no
/// pipe to us whose end could hurt it. Must be called within a runtime, which takes the dead child away.
#[expect(clippy::disallowed_methods, reason = "one of the two places that start processes")]
pub fn spawn(what: Detached<'_>) -> io::Result<Spawned> {
    let errors = bounded_file()?;
    let mut command = Command::new(what.program);
    command
        .args(what.args)
        .current_dir(what.dir)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::from(what.key))
        .stdout(what.output.map_or_else(Stdio::null, Stdio::from))
        .stderr(Stdio::from(errors.try_clone()?))
        .process_group(0);
    if let Some((uid, gid)) = what.user {
        command.uid(uid).gid(gid);
    }
    let mut child = command.spawn()?;
    bound(&child);
    // We have not waited for it, so the number is still its own, even if it has ended.
    let opened = Process::open(child.id()).and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()));
    let reaper = opened.and_then(|process| {
        let fd = pidfd_of(&child)?;
        Ok((process, fd))
    });
    match reaper {
        Ok((process, fd)) => {
            tokio::spawn(reap(child, fd));
            Ok(Spawned { process, errors })
        }
        Err(error) => {
            // A process that we cannot watch is not left behind.
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// Where memory is short it goes before the daemon does, and it leaves no image of its guest's memory on a disk. Said
/// from outside: nothing of ours runs between fork and exec. A guest does not run yet.
fn bound(child: &Child) {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Err(error) = prlimit(pid, Resource::Core, none) {
        tracing::warn!(%error, pid = child.id(), "a process may leave an image of its memory when it crashes");
    }
    if let Err(error) = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE) {
        tracing::warn!(%error, pid = child.id(), "a process is not the first to go where memory is short");
    }
}

fn pidfd_of(child: &Child) -> io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK)?;
    watch(fd)
}

/// Takes the dead child away, so that no zombie keeps its number.
async fn reap(mut child: Child, fd: AsyncFd<std::os::fd::OwnedFd>) {
    let ended = fd.readable().await.map(|mut guard| guard.retain_ready());
    if let Err(error) = ended.and_then(|()| child.try_wait()) {
        tracing::warn!(%error, pid = child.id(), "cannot take a dead child away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::key;

    #[tokio::test]
    async fn ctl_1_1_a_process_has_no_environment_of_ours_leaves_no_core_and_goes_before_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let key = key::take(&folder.path().join("key")).unwrap().unwrap();
        let (program, args) = (Path::new("/bin/sleep"), [OsString::from("60")]);
        let spawned =
            spawn(Detached { program, args: &args, dir: folder.path(), key, output: None, user: None }).unwrap();
        let of = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", spawned.process.pid())).unwrap();
        let limits = of("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_ascii_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        assert_eq!(of("oom_score_adj").trim(), OOM_SCORE);
        let environ = of("environ");
        let names: Vec<_> = environ.split('\0').filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        assert_eq!(names, ["LC_ALL", "PATH"]);
        spawned.process.kill().unwrap();
        spawned.process.exited().await.unwrap();
    }
}
