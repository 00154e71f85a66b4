//! Processes of others and of our own, held by a descriptor: its number cannot pass to a stranger.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::types::UnixMillis;

/// Lets the runtime wait for what becomes readable.
#[expect(unsafe_code, reason = "tokio asks its caller to vouch that the descriptor stays open and the same")]
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one descriptor for its whole life, owns it, and closes it only when it is dropped,
    // which is after the runtime has let go of it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// A process that was alive when it was opened.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// `None` where there is no process of this number.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(number) = number else { return Ok(None) };
        match pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Some(Self { pid, fd })),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Its number, for people.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it at once; fine if it has ended.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, Signal::KILL) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits until it has ended: all its files are closed by then.
    pub async fn exited(&self) -> io::Result<()> {
        watch(self.fd.try_clone()?)?.readable().await?.retain_ready();
        Ok(())
    }

    /// The words it was started with.
    pub fn args(&self) -> io::Result<Vec<String>> {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.pid))?;
        let words = bytes.strip_suffix(&[0]).unwrap_or(&bytes).split(|&byte| byte == 0);
        Ok(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    /// When it was started, by the wall clock of the host's boot: exact to a second or so.
    pub fn since(&self) -> io::Result<UnixMillis> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name in brackets may hold anything; the fields behind its last bracket may not. Start time is the 22nd.
        let (_, rest) = stat.rsplit_once(')').ok_or_else(bad)?;
        let ticks: u64 = rest.split_ascii_whitespace().nth(19).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
        let host = std::fs::read_to_string("/proc/stat")?;
        let boot = host.lines().find_map(|line| line.strip_prefix("btime ")).ok_or_else(bad)?;
        let boot: u64 = boot.trim().parse().map_err(|_| bad())?;
        let rate = rustix::param::clock_ticks_per_second().max(1);
        Ok(UnixMillis(boot.saturating_mul(1000).saturating_add(ticks.saturating_mul(1000) / rate)))
    }
}

/// Whether this process can start others that become another user, and can then still see and end them: root is not
/// enough where its capabilities were cut down, as in many containers.
#[must_use]
pub fn may_start_as_others() -> bool {
    /// Kill, set group, set user, look into processes.
    const NEEDED: u64 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let has = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    has.is_some_and(|has| has & NEEDED == NEEDED)
}
