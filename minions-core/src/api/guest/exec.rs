//! Running a program in a guest.

use std::collections::BTreeMap;

use super::reply::WireError;
use crate::error::{Error, Result};

/// How many bytes of stdin may be on their way: sent, and not yet said to be taken by [`ExecEvent::StdinTaken`]. It keeps
/// signals and resizes from queueing behind a program that does not read.
pub const STDIN_WINDOW: usize = 1024 * 1024;

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ExecRequest {
    /// The program and its arguments. A name without a slash is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Added to a login's environment (`HOME`, `USER`, `SHELL`, `PATH`, `TERM` with a terminal).
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where; the user's home where it is not said.
    #[serde(default)]
    pub cwd: Option<String>,
    /// A name or a number; root where it is not said.
    #[serde(default)]
    pub user: Option<String>,
    /// A terminal; stdout and stderr are then one stream.
    #[serde(default)]
    pub tty: Option<Tty>,
    /// Whether stdin will be sent. Without it the program reads an empty one.
    #[serde(default)]
    pub stdin: bool,
}

impl ExecRequest {
    /// Just a program and its arguments.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Refuses what no system could run.
    pub fn check(&self) -> Result<()> {
        let zero = |text: &String| text.contains('\0');
        match self.argv.first() {
            None => return Err(Error::invalid("argv", "there is no program to run")),
            Some(program) if program.is_empty() => return Err(Error::invalid("argv", "the program has no name")),
            Some(_) => {}
        }
        if self.argv.iter().any(zero) {
            return Err(Error::invalid("argv", "an argument holds a zero byte"));
        }
        if self.env.iter().any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || zero(value)) {
            return Err(Error::invalid("env", "a variable needs a name without '=' and no zero byte"));
        }
        if self.cwd.iter().chain(&self.user).any(|text| text.is_empty() || zero(text)) {
            return Err(Error::invalid("cwd", "a directory or a user is empty or holds a zero byte"));
        }
        Ok(())
    }
}

/// A terminal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tty {
    /// Its size.
    #[serde(flatten)]
    pub size: TtySize,
    /// What `TERM` shall be.
    #[serde(default)]
    pub term: Option<String>,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// A signal that may be sent to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Signal(pub u8);

impl Signal {
    const NAMES: &'static [(&'static str, u8)] = &[
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("CHLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("TTIN", 21),
        ("TTOU", 22),
        ("WINCH", 28),
    ];

    /// What Ctrl-C sends.
    pub const INT: Self = Self(2);
    /// Asks to end.
    pub const TERM: Self = Self(15);
    /// Ends.
    pub const KILL: Self = Self(9);

    /// From a name, with or without `SIG`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        Self::NAMES.iter().find(|known| known.0 == name).map(|known| Self(known.1))
    }

    /// Its name without `SIG`, where it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|known| known.1 == self.0).map(|known| known.0)
    }
}

/// What a host may send while a program runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "control", rename_all = "snake_case")]
pub enum ExecControl {
    /// The terminal has another size.
    Resize(TtySize),
    /// To the program's process group.
    Signal {
        /// Which.
        signal: Signal,
    },
}

/// What becomes of a program. The last one is `Exited`, `Signaled` or `Failed`; nothing follows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ExecEvent {
    /// It runs.
    Started {
        /// As the guest counts.
        pid: u32,
    },
    /// It took so many bytes of its stdin: as many more may be sent.
    StdinTaken {
        /// Since the last such event.
        bytes: u64,
    },
    /// It ended by itself. Everything it wrote was sent before.
    Exited {
        /// Its status.
        code: u8,
    },
    /// A signal ended it. Everything it wrote was sent before.
    Signaled {
        /// Which.
        signal: Signal,
    },
    /// It did not start.
    Failed {
        /// Why. `NotFound` and `Denied` are about the program.
        error: WireError,
    },
}
