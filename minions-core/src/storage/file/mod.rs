//! Images and volumes as plain files in a folder.
//!
//! ```text
//! images/img_…/{root.raw,kernel,initrd,manifest.json}   read-only
//! volumes/vm_….root/{disk.raw,image}                    `image` names what it began as
//! quarantine/vm_….root~N/                               set aside, kept
//! tmp/                                                  being made, or being taken apart
//! ```
//!
//! Images and volumes are folders: made in `tmp`, made durable, and then published by one rename; and taken away by
//! one rename too. What a crash leaves in `tmp` is cleared by the same call repeated, or at the next start: whoever is
//! at work there holds the lock of the folder, so nobody else's work is ever cleared.

mod copy;
mod error;
mod image;
mod reflink;
mod volume;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::RwLock;

use super::bundle::{self, Proven, Turns, stage};
use super::{Storage, StorageCapabilities, StorageUsage, VolumeConfig, VolumeStatus};
use crate::env::{CallCx, Env};
use crate::error::Result;
use crate::host::{blocking, files};
use crate::types::{ByteSize, ImageBundle, ImageId, ImageInfo, StepReport, VmId, VolumeId};
use error::FileError;

/// The largest file that ext4 with small blocks holds, below what every filesystem that we know of does.
const MAX_VOLUME: ByteSize = ByteSize::gib(4096);

/// Images and volumes in a folder.
#[derive(Clone, Debug)]
pub struct FileStorage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    copy_on_write: bool,
    env: Env,
    /// Which kernels and initrds are what was taken in.
    proven: Proven,
    /// One change at a time for each image and volume.
    turns: Turns,
    /// Read while a volume is made, written while an image goes: so no volume outlives its image by a hair's breadth.
    images_stay: Arc<RwLock<()>>,
}

impl FileStorage {
    /// In a folder, which is made. Finds out whether its filesystem shares blocks, and clears what a crash left.
    pub async fn open(dir: &Path, env: Env) -> Result<Self> {
        let dir = dir.to_owned();
        blocking(move || {
            for name in ["images", "volumes", "quarantine", "tmp"] {
                files::make_dir(&dir.join(name)).map_err(FileError::io("make the storage's folders"))?;
            }
            stage::clear(&dir.join("tmp"))?;
            let copy_on_write = reflink::works_in(&dir.join("tmp"))?;
            Ok(Self(Arc::new(Inner {
                dir,
                copy_on_write,
                env,
                proven: Proven::default(),
                turns: Turns::default(),
                images_stay: Arc::default(),
            })))
        })
        .await
    }

    /// File work in turn. It goes on when the caller is gone, and the next one waits for it.
    async fn work<T: Send + 'static>(
        &self,
        cx: &CallCx,
        name: String,
        work: impl FnOnce(&Inner) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T> {
        cx.bound(async {
            let turn = self.0.turns.take(name).await;
            let inner = self.0.clone();
            blocking(move || {
                let result = work(&inner);
                drop(turn);
                Ok(result?)
            })
            .await
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        cx: &CallCx,
        work: impl FnOnce(&Inner) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        cx.bound(blocking(move || Ok(work(&inner)?))).await
    }
}

impl Inner {
    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    fn volumes(&self) -> PathBuf {
        self.dir.join("volumes")
    }

    fn quarantine(&self) -> PathBuf {
        self.dir.join("quarantine")
    }
}

#[async_trait]
impl Storage for FileStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities {
            name: "file".to_owned(),
            copy_on_write: self.0.copy_on_write,
            simulated: false,
            max_volume: MAX_VOLUME,
        }
    }

    async fn usage(&self, cx: &CallCx) -> Result<StorageUsage> {
        self.read(cx, |inner| {
            let stat = rustix::fs::statvfs(&inner.dir).map_err(|error| FileError::from_errno("measure", error))?;
            let total = stat.f_blocks.saturating_mul(stat.f_frsize);
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            Ok(StorageUsage {
                total: ByteSize::bytes(total),
                used: ByteSize::bytes(total.saturating_sub(free)),
                metadata: None,
            })
        })
        .await
    }

    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<StepReport> {
        let bundle = bundle.clone();
        self.work(cx, bundle.id.to_string(), move |inner| image::ensure(inner, &bundle)).await?;
        Ok(StepReport::empty())
    }

    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<StepReport> {
        cx.bound(async {
            let alone = self.0.images_stay.clone().write_owned().await;
            self.work(cx, id.to_string(), move |inner| {
                let _alone = alone;
                image::ensure_absent(inner, id)
            })
            .await
        })
        .await?;
        Ok(StepReport::empty())
    }

    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
        self.read(cx, |inner| Ok(bundle::list(&inner.images(), &inner.proven)?)).await
    }

    async fn ensure_volume(&self, cx: &CallCx, config: &VolumeConfig) -> Result<StepReport> {
        let config = config.clone();
        let started = self.0.env.clock.monotonic();
        cx.bound(async {
            let stays = self.0.images_stay.clone().read_owned().await;
            self.work(cx, config.id.to_string(), move |inner| {
                let _stays = stays;
                volume::ensure(inner, &config)
            })
            .await
        })
        .await?;
        let took = self.0.env.clock.monotonic().saturating_sub(started);
        Ok(StepReport::empty().with("volume", u64::try_from(took.as_micros()).unwrap_or(u64::MAX)))
    }

    async fn ensure_volume_absent(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        self.work(cx, id.to_string(), move |inner| volume::ensure_absent(inner, id)).await?;
        Ok(StepReport::empty())
    }

    async fn volumes_of(&self, cx: &CallCx, vm: VmId) -> Result<Vec<VolumeStatus>> {
        self.read(cx, move |inner| volume::of(inner, vm)).await
    }

    async fn volumes(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        self.read(cx, volume::list).await
    }

    async fn quarantine(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        self.work(cx, id.to_string(), move |inner| volume::quarantine(inner, id)).await?;
        Ok(StepReport::empty())
    }

    async fn quarantined(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        self.read(cx, volume::quarantined).await
    }
}

#[cfg(test)]
mod tests;
