use std::io;
use std::path::PathBuf;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::types::VmId;

#[derive(Debug, thiserror::Error)]
pub(super) enum ChError {
    #[error("Cloud Hypervisor is not on this host; install it: {fix}")]
    Program { fix: &'static str },
    #[error("Cloud Hypervisor {have} is older than {least}: install a newer one")]
    Old { have: String, least: &'static str },
    #[error("{dir} is too long for the sockets of VMs: use a shorter folder")]
    DirTooLong { dir: PathBuf },
    #[error("the {what} is not there: {path}")]
    Missing { what: &'static str, path: PathBuf },
    #[error("a monitor of {id} with epoch {have} is alive, not {want}")]
    Epoch { id: VmId, have: u64, want: u64 },
    #[error("no monitor of {id} is alive on this host")]
    NoMonitor { id: VmId },
    #[error("no guest of {id} runs here as was asked for")]
    NoGuest { id: VmId },
    #[error("this hypervisor opens tap interfaces, and has no network of its own")]
    Nic,
    #[error("the monitor ended before it was ready: {said}")]
    Died { said: String },
    #[error("the monitor said something unexpected: {0}")]
    Protocol(String),
    #[error("the monitor refused {call}: {reason}")]
    Refused { call: &'static str, reason: String },
    #[error("the monitor closed its control socket")]
    Closed,
    #[error("the monitor did not answer in time")]
    Mute,
    #[error("cannot {what}")]
    Io { what: &'static str, source: io::Error },
}

impl ChError {
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<ChError> for Error {
    fn from(error: ChError) -> Self {
        let text = error.to_string();
        match error {
            ChError::Program { .. } | ChError::Old { .. } => {
                Self::new(ErrorKind::Unsupported, text).with_reason("host_misconfigured")
            }
            ChError::DirTooLong { .. } => Self::invalid("dir", text),
            ChError::Missing { .. } => Self::not_found(text).with_reason("host_misconfigured"),
            ChError::NoMonitor { .. } => Self::not_found(text),
            ChError::Epoch { .. } | ChError::NoGuest { .. } => Self::new(ErrorKind::Conflict, text),
            ChError::Nic => Self::new(ErrorKind::Unsupported, text),
            ChError::Died { .. } | ChError::Protocol(_) | ChError::Refused { .. } | ChError::Closed | ChError::Mute => {
                Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown)
            }
            ChError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
