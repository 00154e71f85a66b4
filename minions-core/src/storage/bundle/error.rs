use std::io;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::types::ImageId;

/// What goes wrong with the files of an image, and in the folders where things are made.
#[derive(Debug, thiserror::Error)]
pub(in crate::storage) enum BundleError {
    #[error("the {field} {what}")]
    Source { field: &'static str, what: String },
    #[error("the files are not those of {want}: they make {have}")]
    Digest { want: ImageId, have: ImageId },
    #[error("{0} is being made by another process")]
    Busy(String),
    #[error("{0} is not as we wrote it; set it aside")]
    Broken(String),
    #[error("cannot {what}")]
    Io { what: &'static str, source: io::Error },
}

impl BundleError {
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub fn from_errno(what: &'static str, error: rustix::io::Errno) -> Self {
        Self::Io { what, source: error.into() }
    }
}

impl From<BundleError> for Error {
    fn from(error: BundleError) -> Self {
        let text = error.to_string();
        match error {
            BundleError::Source { field, .. } => Self::invalid(field, text).with_reason("image_invalid"),
            BundleError::Digest { .. } => Self::invalid("id", text).with_reason("image_invalid"),
            BundleError::Busy(_) => Self::new(ErrorKind::Unavailable, text),
            BundleError::Broken(_) => Self::internal(text),
            BundleError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
