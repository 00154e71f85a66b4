//! Forwards the port Storage.

use async_trait::async_trait;

use super::{Layered, forward};
use crate::env::CallCx;
use crate::error::Result;
use crate::storage::{Storage, StorageCapabilities, StorageUsage, VolumeConfig, VolumeStatus};
use crate::types::{ImageBundle, ImageId, ImageInfo, StepReport, VmId, VolumeId};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Storage + ?Sized> Storage for Layered<P> {
    fn capabilities(&self) -> StorageCapabilities {
        self.inner.capabilities()
    }

    async fn usage(&self, cx: &CallCx) -> Result<StorageUsage> {
        forward!(self, cx, Read, "storage.usage", None, usage())
    }

    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<StepReport> {
        forward!(self, cx, Change, "storage.ensure_image", None, ensure_image(bundle))
    }

    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<StepReport> {
        forward!(self, cx, Change, "storage.ensure_image_absent", None, ensure_image_absent(id))
    }

    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
        forward!(self, cx, Read, "storage.images", None, images())
    }

    async fn ensure_volume(&self, cx: &CallCx, config: &VolumeConfig) -> Result<StepReport> {
        forward!(self, cx, Change, "storage.ensure_volume", Some(config.id.vm), ensure_volume(config))
    }

    async fn ensure_volume_absent(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        forward!(self, cx, Change, "storage.ensure_volume_absent", Some(id.vm), ensure_volume_absent(id))
    }

    async fn volumes_of(&self, cx: &CallCx, vm: VmId) -> Result<Vec<VolumeStatus>> {
        forward!(self, cx, Read, "storage.volumes_of", Some(vm), volumes_of(vm))
    }

    async fn volumes(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        forward!(self, cx, Read, "storage.volumes", None, volumes())
    }

    async fn quarantine(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        forward!(self, cx, Change, "storage.quarantine", Some(id.vm), quarantine(id))
    }

    async fn quarantined(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        forward!(self, cx, Read, "storage.quarantined", None, quarantined())
    }
}
