//! Ends the guest.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use rustix::system::RebootCommand;
use tokio::time::Instant;

use super::error::{about, blocking};
use crate::api::guest::PowerHow;
use crate::error::Result;

/// systemd's "power off" as PID 1: SIGRTMIN+4, counted as the C library of every Linux does.
const SYSTEMD_POWER_OFF: i32 = 34 + 4;

pub(super) async fn off(how: PowerHow) -> Result<()> {
    blocking(move || match (how, init()) {
        (PowerHow::Orderly, Init::Systemd) => signal(SYSTEMD_POWER_OFF),
        (PowerHow::Orderly, Init::Busybox) => signal(Signal::USR2.as_raw()),
        _ => now(),
    })
    .await
}

/// Who is PID 1.
enum Init {
    Systemd,
    Busybox,
    /// Ours, or one that has no signal for it.
    Other,
}

fn init() -> Init {
    if Path::new("/run/systemd/system").is_dir() {
        return Init::Systemd;
    }
    match std::fs::read_link("/proc/1/exe") {
        Ok(program) if program.file_name().is_some_and(|name| name == "busybox") => Init::Busybox,
        _ => Init::Other,
    }
}

#[expect(unsafe_code, reason = "real-time signals have no names")]
fn signal(raw: i32) -> Result<()> {
    // SAFETY: the number is in the range of signals, and is sent to another process, not handled here.
    let signal = unsafe { Signal::from_raw_unchecked(raw) };
    kill_process(Pid::INIT, signal).map_err(|error| about("cannot tell init to power off", error.into()))
}

/// How long processes have to end by themselves, once they were asked.
const GRACE: Duration = Duration::from_secs(3);

/// Asks every process to end and ends those that do not, writes everything to the disks, and powers off. Blocks.
pub(super) fn now() -> Result<()> {
    end(processes(), GRACE);
    rustix::fs::sync();
    for mount in ["/data", "/"] {
        // Busy ones stay writable; they are synced, and their journal knows the rest.
        let _ = rustix::mount::mount_remount(mount, rustix::mount::MountFlags::RDONLY, c"");
    }
    rustix::fs::sync();
    rustix::system::reboot(RebootCommand::PowerOff).map_err(|error| about("cannot power off", error.into()))
}

/// Every process but init, this one, and the one that keeps this one alive and would end it in turn.
fn processes() -> Vec<Pid> {
    let kept = [Some(Pid::INIT), Some(rustix::process::getpid()), rustix::process::getppid()];
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|pid| !kept.contains(&Some(*pid)) && !is_of_the_kernel(*pid)).collect()
}

/// Threads of the kernel cannot be ended.
fn is_of_the_kernel(pid: Pid) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // Behind the name, which may hold anything: the flags come seventh.
    let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6)?.parse::<u32>().ok());
    flags.is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// Asks processes to end, and ends those that have not within the time. How many those were.
fn end(pids: Vec<Pid>, grace: Duration) -> usize {
    // A descriptor means this very process, whoever gets its number after it.
    let mut alive: Vec<OwnedFd> =
        pids.into_iter().filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect();
    for process in &alive {
        // One that has ended already needs no signal.
        let _ = pidfd_send_signal(process, Signal::TERM);
        let _ = pidfd_send_signal(process, Signal::CONT);
    }
    let until = Instant::now() + grace;
    wait(&mut alive, until);
    for process in &alive {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
    let killed = alive.len();
    // What was killed writes no more once it is gone.
    wait(&mut alive, Instant::now() + Duration::from_secs(1));
    killed
}

/// Until all of them have ended, or it is time. Those that have not stay in the list.
fn wait(alive: &mut Vec<OwnedFd>, until: Instant) {
    while !alive.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return };
        let mut fds: Vec<PollFd<'_>> = alive.iter().map(|process| PollFd::new(process, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        let mut ended = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        alive.retain(|_| !ended.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that has said that its line was run as far as the word.
    #[expect(clippy::disallowed_methods, reason = "a process to be ended")]
    fn shell(line: &str) -> Child {
        let mut child = Command::new("/bin/sh").args(["-c", line]).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        child
    }

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(child.id().try_into().unwrap()).unwrap()
    }

    #[test]
    fn processes_are_asked_to_end_and_those_that_hear_it_end_by_themselves() {
        let mut hears = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done");
        let mut stubborn = shell("trap '' TERM; echo up; while :; do sleep 0.05; done");
        assert_eq!(end(vec![pid(&hears), pid(&stubborn)], Duration::from_secs(2)), 1);
        assert_eq!(hears.wait().unwrap().code(), Some(7), "it had its chance");
        assert_eq!(stubborn.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn nobody_waits_for_the_time_to_pass_when_all_have_ended() {
        let mut hears = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done");
        let began = Instant::now();
        assert_eq!(end(vec![pid(&hears)], Duration::from_secs(600)), 0);
        assert!(began.elapsed() < Duration::from_secs(300));
        hears.wait().unwrap();
    }

    #[test]
    fn neither_init_nor_this_process_nor_its_keeper_is_among_those_that_end() {
        let mut other = shell("echo up; read line");
        let found = processes();
        assert!(found.contains(&pid(&other)));
        let kept = [Some(Pid::INIT), Some(rustix::process::getpid()), rustix::process::getppid()];
        assert!(!kept.into_iter().flatten().any(|pid| found.contains(&pid)));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
