use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::wire::{Fill, ReportError};
use crate::error::{Effect, Error, ErrorKind};
use crate::host::command::CommandError;
use crate::host::error::kind_of;
use crate::storage::bundle::BundleError;
use crate::types::{ByteSize, ImageId, VolumeId};

#[derive(Debug, thiserror::Error)]
pub(super) enum LvmError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("{field} is {name:?}, which is no name of LVM's")]
    Name { field: &'static str, name: String },
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
    InUse(String),
    #[error("{0} exists and began as something else")]
    OtherSource(VolumeId),
    #[error("a logical volume {0} is there that is not ours; rename it, we do not touch it")]
    Foreign(String),
    #[error("the {what} of the pool {pool} is {fill} full, and nothing new is made above {most}; {fix}")]
    PoolFull { what: &'static str, pool: String, fill: Fill, most: Fill, fix: String },
    #[error("{bytes} more do not fit into the pool {pool}, which is {fill} full and shall stay below {most}; {fix}")]
    NoRoom { bytes: ByteSize, pool: String, fill: Fill, most: Fill, fix: String },
    #[error("the pool {pool} is another service's, it bears the tag {tag}; {fix}")]
    OtherHost { pool: String, tag: String, fix: String },
    #[error("{message}; {fix}")]
    Setup { message: String, fix: String },
    #[error("lvm2 did not do its work")]
    Command(#[source] Arc<CommandError>),
    #[error("lvm2 did not do its work")]
    Report(#[source] ReportError),
    #[error("a call of lvm2 ended early")]
    Stopped,
    #[error("cannot {what} {path}")]
    Device { what: &'static str, path: PathBuf, source: io::Error },
}

impl From<LvmError> for Error {
    fn from(error: LvmError) -> Self {
        let text = error.to_string();
        match error {
            LvmError::Bundle(error) => error.into(),
            LvmError::Name { field, .. } => Self::invalid(field, text),
            LvmError::NoImage(_) | LvmError::NoVolume(_) => Self::not_found(text),
            LvmError::ImageInUse { .. } | LvmError::InUse(_) => Self::new(ErrorKind::Conflict, text),
            LvmError::Shrink { .. } | LvmError::TooLarge { .. } => Self::invalid("size", text),
            LvmError::OtherSource(_) | LvmError::Foreign(_) => Self::new(ErrorKind::AlreadyExists, text),
            LvmError::PoolFull { .. } | LvmError::NoRoom { .. } => {
                Self::new(ErrorKind::Exhausted, text).with_reason("pool_full")
            }
            LvmError::OtherHost { .. } => Self::new(ErrorKind::Denied, text).with_reason("other_host"),
            LvmError::Setup { .. } => Self::new(ErrorKind::Unsupported, text).with_reason("host_misconfigured"),
            LvmError::Command(source) => {
                let (kind, effect) = match &*source {
                    CommandError::Start { .. } => (ErrorKind::Unavailable, Effect::None),
                    CommandError::TimedOut { .. } => (ErrorKind::DeadlineExceeded, Effect::Unknown),
                    _ => (ErrorKind::Unavailable, Effect::Unknown),
                };
                Self::new(kind, text).with_effect(effect).with_source(source)
            }
            LvmError::Report(source) => {
                Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown).with_source(source)
            }
            LvmError::Stopped => Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown),
            LvmError::Device { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
