//! What an agent answers.

use super::clamp::{Clamp, clamp_line, clamp_list};
use super::files::{FileEntry, FileInfo};
use super::status::{Health, NetworkStatus, Status};
use crate::error::{Effect, Error, ErrorKind};

/// An error as it crosses the wire.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WireError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The code below the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One line.
    pub message: String,
}

impl WireError {
    /// From its two necessary parts.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, reason: None, message: message.into() }
    }

    /// Reasons that survive the wire: an error's reason is one of ours, never a guest's text.
    const REASONS: &'static [&'static str] = &["busy", "not_a_directory", "is_a_directory", "no_space", "unsafe_entry"];
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        // Room for the envelope within a control frame.
        let message = error.chain().chars().take(4096).collect();
        Self { kind: error.kind(), reason: error.reason().map(str::to_owned), message }
    }
}

impl From<WireError> for Error {
    /// The message is made safe to print. `Internal` from a guest is its own trouble, not a bug of this process.
    fn from(error: WireError) -> Self {
        let kind = if error.kind == ErrorKind::Internal { ErrorKind::Unavailable } else { error.kind };
        let message = super::terminal::sanitize_line(&error.message, 256);
        let known = WireError::REASONS.iter().find(|known| error.reason.as_deref() == Some(**known));
        let mut result = Error::new(kind, message);
        if error.kind == ErrorKind::Internal {
            result = result.with_effect(Effect::Unknown).with_reason("agent_failed");
        }
        match known {
            Some(reason) => result.with_reason(reason),
            None => result,
        }
    }
}

/// An answer to any call but exec.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To health.
    Health(Health),
    /// To status.
    Status(Box<Status>),
    /// To network.
    Network(NetworkStatus),
    /// To stat; and before the data of a file or a tar stream.
    Info(FileInfo),
    /// To list, in several parts.
    Entries {
        /// Names of this part.
        entries: Vec<FileEntry>,
        /// Whether no more follow.
        last: bool,
    },
    /// It was begun: a forward is connected, a shutdown is on its way.
    Accepted,
    /// It was done: a file is written, a tar stream unpacked, a file system grown.
    Done {
        /// Bytes taken, or the file system's new size.
        bytes: u64,
        /// Entries of a tar stream, else 1.
        entries: u64,
    },
    /// It was not done.
    Failed {
        /// Why.
        error: WireError,
    },
}

impl Reply {
    /// The reply, or the error that it carries.
    pub fn ok(self) -> crate::Result<Self> {
        match self {
            Self::Failed { error } => Err(error.into()),
            reply => Ok(reply),
        }
    }
}

impl Clamp for Reply {
    fn clamp(self) -> Self {
        match self {
            Self::Health(health) => Self::Health(health.clamp()),
            Self::Status(status) => Self::Status(Box::new((*status).clamp())),
            Self::Network(network) => Self::Network(network.clamp()),
            Self::Info(info) => Self::Info(info.clamp()),
            Self::Entries { mut entries, last } => {
                clamp_list(&mut entries, 4096);
                Self::Entries { entries: entries.into_iter().map(Clamp::clamp).collect(), last }
            }
            Self::Failed { mut error } => {
                clamp_line(&mut error.message);
                Self::Failed { error }
            }
            Self::Accepted | Self::Done { .. } => self,
        }
    }
}
