use std::io;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::storage::bundle::BundleError;
use crate::types::{ByteSize, ImageId, VolumeId};

#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("no image {0} here; build or import it first")]
    NoImage(ImageId),
    #[error("{image} is needed by the volume {volume}")]
    ImageInUse { image: ImageId, volume: String },
    #[error("no volume {0} here")]
    NoVolume(VolumeId),
    #[error("{id} has {have}; a volume never shrinks to {want}")]
    Shrink { id: VolumeId, have: ByteSize, want: ByteSize },
    #[error("{want} is more than the largest volume, {most}")]
    TooLarge { want: ByteSize, most: ByteSize },
    #[error("{0} is in use by a process")]
    InUse(VolumeId),
    #[error("{0} exists and began as something else")]
    OtherSource(VolumeId),
    #[error("{0} is being made by another process")]
    Busy(String),
    #[error("{0} is not as we wrote it; set it aside")]
    Broken(String),
    #[error("cannot {what}")]
    Io { what: &'static str, source: io::Error },
}

impl FileError {
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub fn from_errno(what: &'static str, error: rustix::io::Errno) -> Self {
        Self::Io { what, source: error.into() }
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let text = error.to_string();
        match error {
            FileError::Bundle(error) => error.into(),
            FileError::NoImage(_) | FileError::NoVolume(_) => Self::not_found(text),
            FileError::ImageInUse { .. } | FileError::InUse(_) => Self::new(ErrorKind::Conflict, text),
            FileError::Shrink { .. } | FileError::TooLarge { .. } => Self::invalid("size", text),
            FileError::OtherSource(_) => Self::new(ErrorKind::AlreadyExists, text),
            FileError::Busy(_) => Self::new(ErrorKind::Unavailable, text),
            FileError::Broken(_) => Self::internal(text),
            FileError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
