use std::io;
use std::path::PathBuf;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::types::VmId;

#[derive(Debug, thiserror::Error)]
pub(super) enum QemuError {
    #[error("{program} is not on this host; install it: {fix}")]
    Program { program: &'static str, fix: &'static str },
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
    #[error("this hypervisor cannot open such a network port, only a tap interface and its own network")]
    Nic,
    #[error("{what} ended before it was ready: {said}")]
    Died { what: &'static str, said: String },
    #[error("the monitor said something unexpected: {0}")]
    Protocol(String),
    #[error("the monitor refused {command}: {reason}")]
    Refused { command: &'static str, reason: String },
    #[error("the monitor closed its control socket")]
    Closed,
    #[error("the monitor did not answer in time")]
    Mute,
    #[error("cannot {what}")]
    Io { what: &'static str, source: io::Error },
}

impl QemuError {
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<QemuError> for Error {
    fn from(error: QemuError) -> Self {
        let text = error.to_string();
        match error {
            QemuError::Program { .. } => Self::new(ErrorKind::Unsupported, text).with_reason("host_misconfigured"),
            QemuError::DirTooLong { .. } => Self::invalid("dir", text),
            QemuError::Missing { .. } => Self::not_found(text).with_reason("host_misconfigured"),
            QemuError::NoMonitor { .. } => Self::not_found(text),
            QemuError::Epoch { .. } | QemuError::NoGuest { .. } => Self::new(ErrorKind::Conflict, text),
            QemuError::Nic => Self::new(ErrorKind::Unsupported, text),
            QemuError::Died { .. } => Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown),
            QemuError::Protocol(_) | QemuError::Refused { .. } => {
                Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown)
            }
            QemuError::Closed | QemuError::Mute => Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown),
            QemuError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
