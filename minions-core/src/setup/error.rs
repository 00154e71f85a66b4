//! What goes wrong while a host is set up.

use std::io;
use std::path::PathBuf;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::command::CommandError;
use crate::host::error::kind_of;

#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("cannot {what} {path}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("there is no program {program} here; {fix}")]
    Program { program: &'static str, fix: &'static str },
    #[error("{why}; {fix}")]
    Disk { why: String, fix: String },
    #[error("{program} did not do its work")]
    Command { program: &'static str, source: CommandError },
}

impl SetupError {
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}

impl From<SetupError> for Error {
    fn from(error: SetupError) -> Self {
        let text = error.to_string();
        match error {
            SetupError::File { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
            SetupError::Disk { .. } => Self::new(ErrorKind::Conflict, text).with_reason("disk_not_blank"),
            SetupError::Program { .. } => Self::new(ErrorKind::Unsupported, text).with_reason("host_misconfigured"),
            SetupError::Command { source, .. } => {
                Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
