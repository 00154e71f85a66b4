//! Processes of others and of our own, held by a descriptor: its number cannot pass to a stranger.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::types::{Fences, UnixMillis};

/// Lets the runtime wait for what becomes readable.
#[expect(unsafe_code, reason = "tokio asks its caller to vouch that the descriptor stays open and the same")]
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
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

    /// What the kernel says of what keeps it apart. Its files and its resources are for those to tell who know what it
    /// was started with.
    pub fn fences(&self) -> io::Result<Fences> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        Ok(fences_of(&status, rustix::process::geteuid().as_raw()))
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

fn fences_of(status: &str, ours: u32) -> Fences {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>()
    };
    let ids = |name: &str| field(name).iter().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>();
    let none = |name: &str| field(name).first().is_some_and(|set| u64::from_str_radix(set, 16) == Ok(0));
    let users = ids("Uid");
    let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    let no_new_privileges = field("NoNewPrivs") == ["1"];
    Fences {
        own_user: users.len() == 4 && users.iter().all(|&user| user != 0 && user != ours),
        no_capabilities: sets.into_iter().all(none) && (none("CapBnd") || no_new_privileges),
        no_new_privileges,
        system_calls: field("Seccomp") == ["2"],
        files: false,
        resources: false,
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

#[cfg(test)]
mod tests {
    use super::*;

    const FENCED: &str = "Name:\tx\nUid:\t70000\t70000\t70000\t70000\nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn each_fence_is_read_from_what_the_kernel_says() {
        let all = fences_of(FENCED, 0);
        assert!(all.own_user && all.no_capabilities && all.no_new_privileges && all.system_calls, "{all:?}");
        assert!(!fences_of(FENCED, 70_000).own_user, "the daemon's own user is no other");
        assert!(!fences_of(&FENCED.replacen("70000", "0", 1), 0).own_user);
        assert!(!fences_of(&FENCED.replace("CapEff:\t0000", "CapEff:\t0001"), 0).no_capabilities);
        let gains = FENCED.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
        assert!(!fences_of(&gains, 0).no_new_privileges);
        assert!(!fences_of(&gains.replace("CapBnd:\t0000", "CapBnd:\t0001"), 0).no_capabilities);
        assert!(!fences_of(&FENCED.replace("Seccomp:\t2", "Seccomp:\t0"), 0).system_calls);
        assert_eq!(fences_of("", 0), Fences::default());
    }
}
