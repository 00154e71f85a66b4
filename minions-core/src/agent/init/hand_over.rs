//! Who is PID 1 from now on.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::cmdline::InitChoice;
use crate::agent::error::about;
use crate::agent::serve::blocking;
use crate::agent::supervise;
use crate::error::Result;

/// What an image's init is called.
const KNOWN: &[&str] =
    &["/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/etc/init", "/bin/init", "/init"];

/// How the agent is told what this boot has left for it.
pub(in crate::agent) const WORDS: &[&str] = &["--report", "/run/minions/report"];

/// The init that the image has, as chosen.
pub(super) fn find(choice: &InitChoice) -> Option<String> {
    let runs = |path: &str| {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    match choice {
        InitChoice::None => None,
        InitChoice::Path(path) => Some(path.clone()).filter(|path| runs(path)),
        InitChoice::Auto => KNOWN.iter().find(|path| runs(path)).map(|path| (*path).to_owned()),
    }
}

/// Starts the agent under its supervisor, and becomes the image's init. Returns only where that cannot be run.
#[expect(clippy::disallowed_methods, reason = "PID 1 starts the supervisor and becomes the image's init")]
pub(super) fn to(init: &str) -> Result<()> {
    // This program's file was deleted with the initrd; the kernel still has it.
    std::process::Command::new("/proc/self/exe")
        .arg0("minions-agent")
        .arg("supervise")
        .args(WORDS)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| about("cannot start the agent", error))?;
    let error = std::process::Command::new(init).exec();
    Err(about(format_args!("cannot run {init}"), error))
}

/// Stays PID 1: keeps the agent alive, and collects what dies.
pub(super) fn stay() -> Result<()> {
    blocking(supervise(WORDS.iter().map(|word| (*word).to_owned()).collect()))
}
