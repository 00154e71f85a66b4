//! What can go wrong with a monitor that is a process, whichever program it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::types::{Cid, VmId};

#[derive(Debug, thiserror::Error)]
pub(super) enum MonitorError {
    #[error("{program} is not on this host; install it: {fix}")]
    Program { program: &'static str, fix: &'static str },
    #[error("{program} {have} is older than {least}: install a newer one")]
    Old { program: &'static str, have: String, least: String },
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
    #[error("this hypervisor cannot open such a network port: {0}")]
    Nic(&'static str),
    #[error(
        "another program of this host has the VSOCK context id {} that belongs to this VM: end it, or use the helper \
         (qemu.vsock = \"helper\")",
        .cid.get()
    )]
    CidTaken { cid: Cid },
    #[error("{what} ended before it was ready: {said}")]
    Died { what: &'static str, said: String },
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

impl MonitorError {
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Whether a key is held by somebody who cannot be seen.
    pub fn is_unseen(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }

    /// Refuses a folder below which a socket's name could become too long.
    pub fn unless_fits(dir: &Path, longest: usize) -> Result<(), Self> {
        if dir.as_os_str().len() + 1 + longest > crate::host::preflight::MAX_SOCKET_PATH {
            return Err(Self::DirTooLong { dir: dir.to_owned() });
        }
        Ok(())
    }
}

impl From<MonitorError> for Error {
    fn from(error: MonitorError) -> Self {
        let text = error.to_string();
        match error {
            MonitorError::Program { .. } | MonitorError::Old { .. } => {
                Self::new(ErrorKind::Unsupported, text).with_reason("host_misconfigured")
            }
            MonitorError::DirTooLong { .. } => Self::invalid("dir", text),
            MonitorError::Missing { .. } => Self::not_found(text).with_reason("host_misconfigured"),
            MonitorError::NoMonitor { .. } => Self::not_found(text),
            MonitorError::Epoch { .. } | MonitorError::NoGuest { .. } => Self::new(ErrorKind::Conflict, text),
            MonitorError::CidTaken { .. } => Self::new(ErrorKind::Unavailable, text).with_reason("cid_taken"),
            MonitorError::Nic(_) => Self::new(ErrorKind::Unsupported, text),
            MonitorError::Died { .. }
            | MonitorError::Protocol(_)
            | MonitorError::Refused { .. }
            | MonitorError::Closed
            | MonitorError::Mute => Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown),
            MonitorError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
