//! Images and volumes as thin volumes of LVM.
//!
//! ```text
//! in the volume group:                                  in the folder:
//!   img_…            an image's root, inactive            images/img_…/{kernel,initrd,manifest.json}
//!   vm_….root        a thin snapshot of an image          tmp/          being made, or being taken apart
//!   vm_….data        a thin volume
//!   vm_….root+N      set aside, inactive, kept
//! ```
//!
//! Everything of ours bears the tag `minions`; what does not is never listed and never touched. All of it is skipped
//! when the host activates its volumes, so that nothing but a guest ever looks into a guest's disk; [`LvmStorage::open`]
//! activates the volumes of VMs, and never an image: an image that is read while its pool is in trouble would take the
//! whole group along.
//!
//! The pool zeroes what it gives out, so a volume never sees what another one held. One service has a pool for itself: the
//! pool bears its tag, `minions.host=host_…`, from the first [`LvmStorage::open`] on, and no other service opens it.

mod calls;
mod command;
mod device;
mod error;
mod image;
mod init;
mod pool;
mod preflight;
mod volume;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::RwLock;

use super::bundle::{BundleError, Proven, Turns};
use super::{Storage, StorageCapabilities, StorageUsage, VolumeConfig, VolumeStatus};
use crate::env::{CallCx, Env};
use crate::error::Result;
use crate::host::files;
use crate::types::{ByteSize, HostId, ImageBundle, ImageId, ImageInfo, StepReport, VmId, VolumeId, names};

pub use init::{PoolStep, UDEV_FILES, ensure_pool, has_group, plan_pool, udev_rule};
pub use preflight::preflight;
pub use wire::{Fill, LogicalVolume, Report, ReportError};

use calls::Calls;
use command::{Place, Programs, Runner};
use error::LvmError;

/// The largest volume: far below what a thin volume can be, and as much as a filesystem in it can use.
const MAX_VOLUME: ByteSize = ByteSize::gib(16 * 1024);

/// Volumes that one command activates.
const AT_ONCE: usize = 200;

/// Where an LVM storage lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LvmConfig {
    /// The folder for the kernels, initrds and manifests of images.
    pub dir: PathBuf,
    /// The volume group.
    pub vg: String,
    /// The thin pool in it.
    pub pool: String,
    /// Whose pool it is: it is tagged with this id at the first [`LvmStorage::open`], and one with another id's tag is
    /// refused. Must be the same at every start. Without an id, only a pool without such a tag is opened, and gets none.
    pub host: Option<HostId>,
    /// The folder of lvm2's programs.
    pub programs: PathBuf,
    /// While an image is taken in, after so many bytes one looks again whether the pool has room for more.
    pub look_every: ByteSize,
}

impl LvmConfig {
    /// The usual group, pool and programs: `minions/pool`, in `/usr/sbin`; for nobody in particular.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            vg: "minions".to_owned(),
            pool: "pool".to_owned(),
            host: None,
            programs: "/usr/sbin".into(),
            look_every: ByteSize::gib(1),
        }
    }
}

/// Whether a text can be the name of a volume group or a pool.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    let reserved = ["snapshot", "pvmove"].iter().any(|word| text.starts_with(word))
        || ["_cdata", "_cmeta", "_corig", "_mlog", "_mimage", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta"]
            .iter()
            .any(|word| text.contains(word));
    (1..=40).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !matches!(text, "." | "..")
        && !reserved
}

/// Images and volumes in a thin pool.
#[derive(Clone, Debug)]
pub struct LvmStorage(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    dir: PathBuf,
    /// Where devices appear: `/dev`.
    devices: PathBuf,
    calls: Calls,
    env: Env,
    look_every: u64,
    /// Which kernels and initrds are what was taken in.
    proven: Arc<Proven>,
    /// One change at a time for each image and volume.
    turns: Arc<Turns>,
    /// Read while a volume is made, written while an image goes: so no volume is made of an image that goes.
    images_stay: Arc<RwLock<()>>,
}

impl LvmStorage {
    /// In a pool that is there. Clears what a crash left, and activates the volumes of VMs that the host's boot has
    /// left inactive.
    ///
    /// # Errors
    /// `Unsupported` with the line to type, where there is no such pool or where it does not zero what it gives out.
    /// `Denied` (`other_host`) where the pool is another service's; nothing has been touched then.
    pub async fn open(config: LvmConfig, env: Env) -> Result<Self> {
        let programs = Programs { dir: config.programs.clone(), limit: command::LIMIT };
        Self::open_with(config, Arc::new(programs), Path::new("/dev"), env).await
    }

    async fn open_with(config: LvmConfig, runner: Arc<dyn Runner>, devices: &Path, env: Env) -> Result<Self> {
        for (field, name) in [("storage.vg", &config.vg), ("storage.pool", &config.pool)] {
            if !is_name(name) {
                return Err(LvmError::Name { field, name: name.clone() }.into());
            }
        }
        let dir = config.dir.clone();
        crate::host::blocking(move || {
            for name in ["images", "tmp"] {
                files::make_dir(&dir.join(name)).map_err(BundleError::io("make the storage's folders"))?;
            }
            Ok(())
        })
        .await?;
        let inner = Inner {
            dir: config.dir,
            devices: devices.to_owned(),
            calls: Calls::new(runner, Place { vg: config.vg, pool: config.pool }),
            env,
            look_every: config.look_every.get(),
            proven: Arc::default(),
            turns: Arc::default(),
            images_stay: Arc::default(),
        };
        let mut report = inner.calls.report().await?;
        let mut pool = pool::find(&report, inner.calls.place())?;
        pool::check(pool, inner.calls.place())?;
        let owned = pool::owned(pool, inner.calls.place(), config.host)?;
        if let Some(host) = config.host.filter(|_| !owned) {
            let name = pool.name.as_str();
            inner.calls.change(&[name], &inner.calls.place().tag(name, &command::host_tag(host))).await?;
            // Another service may have come in between: then both see both tags, and neither goes on.
            report = inner.calls.report().await?;
            pool = pool::find(&report, inner.calls.place())?;
            pool::owned(pool, inner.calls.place(), config.host)?;
        }
        if !pool.active {
            let name = pool.name.as_str();
            inner.calls.change(&[name], &inner.calls.place().activate([name])).await?;
        }
        image::clear(&inner, &report).await?;
        for names in volume::asleep(&report).chunks(AT_ONCE) {
            let activate = inner.calls.place().activate(names.iter().copied());
            // One that is broken must not keep the others' service away; whoever asks for it is told.
            if let Err(error) = inner.calls.change(names, &activate).await {
                tracing::error!(%error, "not all volumes could be activated");
            }
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Work in turn. It goes on when the caller is gone, and the next one waits for it.
    async fn work<T, F>(&self, cx: &CallCx, name: String, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LvmError>> + Send + 'static,
    {
        cx.bound(async {
            let turn = self.0.turns.take(name).await;
            let work = work(self.0.clone());
            let task = tokio::spawn(async move {
                let result = work.await;
                drop(turn);
                result
            });
            Ok(task.await.map_err(|_| LvmError::Stopped)??)
        })
        .await
    }

    /// What a report says that is shared with all who ask now.
    async fn read<T>(&self, cx: &CallCx, look: impl FnOnce(&Inner, &Report) -> Result<T, LvmError>) -> Result<T> {
        cx.bound(async {
            let report = self.0.calls.report().await?;
            Ok(look(&self.0, &report)?)
        })
        .await
    }
}

impl Inner {
    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    fn device(&self, name: &str) -> PathBuf {
        self.devices.join(&self.calls.place().vg).join(name)
    }
}

#[async_trait]
impl Storage for LvmStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities { name: "lvm".to_owned(), copy_on_write: true, simulated: false, max_volume: MAX_VOLUME }
    }

    async fn usage(&self, cx: &CallCx) -> Result<StorageUsage> {
        self.read(cx, |inner, report| pool::usage(report, inner.calls.place())).await
    }

    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<StepReport> {
        let bundle = bundle.clone();
        self.work(cx, bundle.id.to_string(), move |inner| image::ensure(inner, bundle)).await?;
        Ok(StepReport::empty())
    }

    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<StepReport> {
        cx.bound(async {
            let alone = self.0.images_stay.clone().write_owned().await;
            self.work(cx, id.to_string(), move |inner| async move {
                let _alone = alone;
                image::ensure_absent(inner, id).await
            })
            .await
        })
        .await?;
        Ok(StepReport::empty())
    }

    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
        cx.bound(async { Ok(image::list(self.0.clone()).await?) }).await
    }

    async fn ensure_volume(&self, cx: &CallCx, config: &VolumeConfig) -> Result<StepReport> {
        let config = config.clone();
        let started = self.0.env.clock.monotonic();
        cx.bound(async {
            let stays = self.0.images_stay.clone().read_owned().await;
            self.work(cx, names::volume(config.id), move |inner| async move {
                let _stays = stays;
                volume::ensure(inner, config).await
            })
            .await
        })
        .await?;
        let took = self.0.env.clock.monotonic().saturating_sub(started);
        Ok(StepReport::empty().with("volume", u64::try_from(took.as_micros()).unwrap_or(u64::MAX)))
    }

    async fn ensure_volume_absent(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        self.work(cx, names::volume(id), move |inner| volume::ensure_absent(inner, id)).await?;
        Ok(StepReport::empty())
    }

    async fn volumes_of(&self, cx: &CallCx, vm: VmId) -> Result<Vec<VolumeStatus>> {
        self.read(cx, |inner, report| Ok(volume::statuses(inner, report, |id| id.vm == vm))).await
    }

    async fn volumes(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        self.read(cx, |_, report| Ok(volume::list(report))).await
    }

    async fn quarantine(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        self.work(cx, names::volume(id), move |inner| volume::quarantine(inner, id)).await?;
        Ok(StepReport::empty())
    }

    async fn quarantined(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        self.read(cx, |_, report| Ok(volume::quarantined(report))).await
    }
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests;
