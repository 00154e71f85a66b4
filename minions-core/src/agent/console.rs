//! A shell at the guest's console, where the image has no init that would put somebody there: after Enter, so that it
//! costs nothing until then. Only the host reaches the console, and whoever may sit there may run programs as root anyway.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::process::Pid;
use tokio::net::unix::pipe::Receiver;

use super::error::about;
use super::exec::{PATH, find_user};
use crate::error::{Error, Result};

/// What tells this program to become that shell.
pub(super) const WORD: &str = "console-shell";

/// Which devices the kernel's console is; the last is the one that is read.
const ACTIVE: &str = "/sys/class/tty/console/active";

/// The console, while nobody sits there.
pub(super) struct Desk {
    device: PathBuf,
    /// Opened anew for each wait: the kernel hangs it up when a shell ends.
    tty: Option<Receiver>,
    shell: Option<Pid>,
}

impl Desk {
    /// The kernel's console; `None` where it has none that is a terminal.
    pub fn find() -> Option<Self> {
        let active = std::fs::read_to_string(ACTIVE).ok()?;
        let name = active.split_ascii_whitespace().next_back()?;
        let device = Path::new("/dev").join(name);
        let mut desk = Self { device, tty: None, shell: None };
        desk.open();
        Some(desk)
    }

    /// Says that somebody may come. A console that cannot be opened has nobody at it.
    fn open(&mut self) {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let opened = File::options().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(&self.device);
        let opened = opened.and_then(|mut tty| {
            tty.write_all(b"minions: press Enter for a shell\n")?;
            Receiver::from_file_unchecked(tty)
        });
        self.tty = opened.ok();
    }

    /// Ends when somebody has pressed Enter. Cancel-safe.
    pub async fn enter(&mut self) {
        let Some(tty) = self.tty.as_ref().filter(|_| self.shell.is_none()) else { return std::future::pending().await };
        // A line at a time, for that is how a terminal is read: what comes behind Enter is for the shell.
        let mut line = [0; 256];
        loop {
            if tty.readable().await.is_err() {
                return std::future::pending().await;
            }
            match tty.try_read(&mut line) {
                Ok(count) if line[..count].ends_with(b"\n") => return,
                Ok(1..) | Err(_) => {}
                // Somebody hung up, or typed the end of a file: there is nothing to wait for on this one.
                Ok(0) => return std::future::pending().await,
            }
        }
    }

    /// Puts a shell there. It is one of those whose death is told to [`died`](Self::died).
    #[expect(clippy::disallowed_methods, reason = "the first process starts the shell at its console")]
    pub fn sit(&mut self) -> Result<()> {
        self.tty = None;
        let child = std::process::Command::new("/proc/self/exe")
            .arg0("minions-agent")
            .arg(WORD)
            .arg(&self.device)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| about("cannot start a shell at the console", error))?;
        self.shell = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(())
    }

    /// Somebody died. After the shell the next one may come.
    pub fn died(&mut self, pid: Pid) {
        if self.shell == Some(pid) {
            self.shell = None;
            self.open();
        }
    }
}

/// Becomes the shell at a console. Returns only where that cannot be.
#[expect(clippy::disallowed_methods, reason = "this process becomes the shell")]
pub(super) fn shell(device: Option<String>) -> Result<()> {
    let device = device.ok_or_else(|| Error::invalid("command", "which console?"))?;
    // A session of its own, whose terminal is the console: Ctrl-C reaches what runs there.
    rustix::process::setsid().map_err(|error| about("cannot begin a session", error.into()))?;
    let open = || File::options().read(true).write(true).open(&device).map_err(|error| about(&device, error));
    let tty = open()?;
    rustix::process::ioctl_tiocsctty(&tty).map_err(|error| about(&device, error.into()))?;
    // The parent is protected from the kernel's memory killer; what runs here is not to be.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let root = find_user("0")?;
    let home = if Path::new(&root.home).is_dir() { root.home.as_str() } else { "/" };
    let name = root.shell.rsplit('/').next().unwrap_or("sh");
    let error = std::process::Command::new(&root.shell)
        .arg0(format!("-{name}"))
        .env_clear()
        .envs([("PATH", PATH), ("HOME", home), ("USER", &root.name), ("LOGNAME", &root.name), ("SHELL", &root.shell)])
        .env("TERM", "vt102")
        .current_dir(home)
        .stdin(tty)
        .stdout(open()?)
        .stderr(open()?)
        .exec();
    Err(about(format_args!("cannot run {}", root.shell), error))
}
