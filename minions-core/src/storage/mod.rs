//! Port 2: images and volumes of one host.

#[cfg(any(feature = "file-storage", feature = "lvm"))]
mod bundle;
#[cfg(feature = "file-storage")]
pub mod file;
#[cfg(feature = "lvm")]
pub mod lvm;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::env::CallCx;
use crate::error::Result;
use crate::types::{ByteSize, ImageBundle, ImageId, ImageInfo, StepReport, VmId, VolumeId};

/// What a volume shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Its name.
    pub id: VolumeId,
    /// At least this many bytes.
    pub size: ByteSize,
    /// What it begins as.
    pub source: VolumeSource,
}

/// What a volume begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Zeros. The guest makes its filesystem.
    Empty,
    /// A copy-on-write child of an image's root.
    Image(ImageId),
}

/// What was observed of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStatus {
    /// Which one.
    pub id: VolumeId,
    /// Its bytes.
    pub size: ByteSize,
    /// Where a monitor opens it.
    pub path: PathBuf,
    /// Whether it is published. `false`: left by a call that did not finish; the same call repeated finishes it, and
    /// `ensure_volume_absent` clears it away. A monitor never opens such a one.
    pub whole: bool,
    /// Whether a monitor can open it now. `false`: it is there and keeps its bytes, but the host has not made its device
    /// yet, or has taken it away; the same `ensure_volume` repeated makes it.
    pub active: bool,
}

/// What a storage can do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StorageCapabilities {
    /// Its name, such as `file`.
    pub name: String,
    /// Whether a volume from an image shares its blocks until it is written.
    pub copy_on_write: bool,
    /// Whether it holds bytes at all.
    pub simulated: bool,
    /// The largest volume.
    pub max_volume: ByteSize,
}

/// How full a storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StorageUsage {
    /// All of it.
    pub total: ByteSize,
    /// What is used.
    pub used: ByteSize,
    /// How full what it keeps books in is, where that has room of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<StorageFill>,
}

/// How full a part of a storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StorageFill {
    /// All of it.
    pub total: ByteSize,
    /// What is used.
    pub used: ByteSize,
}

/// Images and volumes of one host.
///
/// # Contract
/// - Every method is idempotent: repeating a call that already took effect is `Ok`.
/// - An `Err` says through `Error::effect()` whether the effect may have happened.
/// - Methods are cancel-safe: dropping the future never leaves state that [`volumes`](Self::volumes) and
///   [`images`](Self::images) cannot see, or that the same call repeated does not finish or clear.
/// - A volume or an image is seen whole or not at all: it is published by one atomic step.
/// - The bytes of a volume change only by its guest. `ensure_volume` on one that exists never touches them; it may
///   only grow it.
/// - A volume's bytes are never seen by another volume, not even after it is gone.
/// - The host never reads a guest's filesystem.
///
/// Source of the contract's checks: `testkit::storage_suite!`.
#[cfg_attr(feature = "mockall", mockall::automock)]
#[async_trait]
pub trait Storage: Debug + Send + Sync + 'static {
    /// What this one can do; does not change while it lives.
    fn capabilities(&self) -> StorageCapabilities;

    /// How full it is.
    async fn usage(&self, cx: &CallCx) -> Result<StorageUsage>;

    /// The image is there, whole and durable. The files of the bundle are read once and left as they are; a file
    /// whose content does not match the id is `InvalidArgument`.
    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<StepReport>;

    /// The image is gone. `Conflict` while a volume needs it.
    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<StepReport>;

    /// Every image, in no order.
    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>>;

    /// The volume is there, durable, and at least as large as asked. Growing is allowed, shrinking is
    /// `InvalidArgument`; a missing image is `NotFound`; a full storage `Exhausted`.
    async fn ensure_volume(&self, cx: &CallCx, config: &VolumeConfig) -> Result<StepReport>;

    /// The volume is gone. `Conflict` while a process has it open.
    async fn ensure_volume_absent(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport>;

    /// Every volume that was made for a VM, unfinished ones too, in no order; none of which anything is left outside
    /// quarantine is left out.
    async fn volumes_of(&self, cx: &CallCx, vm: VmId) -> Result<Vec<VolumeStatus>>;

    /// Every volume that is not in quarantine, unfinished ones too, in no order.
    async fn volumes(&self, cx: &CallCx) -> Result<Vec<VolumeId>>;

    /// Sets aside a volume that nobody can explain: it is kept, but no longer listed or opened.
    async fn quarantine(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport>;

    /// Every volume in quarantine.
    async fn quarantined(&self, cx: &CallCx) -> Result<Vec<VolumeId>>;
}

/// What is called on top of a [`Storage`].
#[async_trait]
pub trait StorageExt: Storage {
    /// One volume; `None` only when nothing of it is left outside quarantine.
    async fn volume(&self, cx: &CallCx, id: VolumeId) -> Result<Option<VolumeStatus>> {
        Ok(self.volumes_of(cx, id.vm).await?.into_iter().find(|volume| volume.id == id))
    }
}

impl<S: Storage + ?Sized> StorageExt for S {}

/// A storage that is shared.
pub type DynStorage = Arc<dyn Storage>;
