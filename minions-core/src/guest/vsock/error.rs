use std::io;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::types::VmId;

#[derive(Debug, thiserror::Error)]
pub(super) enum VsockError {
    #[error("there is no door of {0}")]
    NoDoor(VmId),
    #[error("nobody answers on port {port} of {id}")]
    NoAnswer { id: VmId, port: u32 },
    #[error("{id} has {most} connections already")]
    TooMany { id: VmId, most: usize },
    #[error("{dir} is too long for the sockets of VMs: use a shorter folder")]
    DirTooLong { dir: std::path::PathBuf },
    #[error("cannot {what}")]
    Io { what: &'static str, source: io::Error },
}

impl VsockError {
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<VsockError> for Error {
    fn from(error: VsockError) -> Self {
        let text = error.to_string();
        match error {
            VsockError::NoDoor(_) => Self::not_found(text),
            VsockError::NoAnswer { .. } => Self::new(ErrorKind::Unavailable, text),
            VsockError::TooMany { .. } => Self::new(ErrorKind::Exhausted, text),
            VsockError::DirTooLong { .. } => Self::invalid("dir", text),
            VsockError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
