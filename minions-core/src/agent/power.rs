//! Ends the guest.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use rustix::system::RebootCommand;

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

/// Asks every process to end, writes everything to the disks, and powers off.
pub(super) fn now() -> Result<()> {
    rustix::fs::sync();
    for mount in ["/data", "/"] {
        // Busy ones stay writable; they are synced, and their journal knows the rest.
        let _ = rustix::mount::mount_remount(mount, rustix::mount::MountFlags::RDONLY, c"");
    }
    rustix::fs::sync();
    rustix::system::reboot(RebootCommand::PowerOff).map_err(|error| about("cannot power off", error.into()))
}
