//! What the cases need of a storage.

use std::any::Any;
use std::fmt::Debug;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use hmac_sha256::Hash;

use crate::env::Env;
use crate::storage::{DynStorage, StorageExt, VolumeConfig, VolumeSource, VolumeStatus};
use crate::testkit::cx;
use crate::types::{ByteSize, ImageBundle, VmId, VolumeId};

/// Looks at a volume's bytes, and changes them as its guest would.
#[async_trait]
pub trait Probe: Debug + Send + Sync {
    /// What tells the first `len` bytes of a volume from any others.
    async fn fingerprint(&self, id: VolumeId, volume: &VolumeStatus, len: ByteSize) -> [u8; 32];

    /// Writes into the volume.
    async fn scribble(&self, id: VolumeId, volume: &VolumeStatus, bytes: &[u8]);

    /// Holds a volume open as a monitor would, until the result is dropped; `None` where that cannot be shown here.
    async fn hold(&self, id: VolumeId, volume: &VolumeStatus) -> Option<Box<dyn Any + Send>>;
}

/// A storage and what its cases need.
#[derive(Debug)]
pub struct StorageScene {
    /// The storage.
    pub storage: DynStorage,
    /// The files of a small image that it has not taken in.
    pub bundle: ImageBundle,
    /// The same with a file that does not match the id, where one can be made.
    pub tampered: Option<ImageBundle>,
    /// Looks at its volumes.
    pub probe: Box<dyn Probe>,
}

/// A [`Probe`] of volumes that are files or block devices, and that nobody is known to hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileProbe;

#[async_trait]
impl Probe for FileProbe {
    async fn fingerprint(&self, _id: VolumeId, volume: &VolumeStatus, len: ByteSize) -> [u8; 32] {
        let mut left = len.get();
        let mut file = std::fs::File::open(&volume.path).expect("the volume can be opened");
        let (mut hash, mut buffer) = (Hash::new(), vec![0; 1 << 20]);
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = file.read(&mut buffer[..most]).expect("the volume can be read");
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            left -= read as u64;
        }
        hash.finalize()
    }

    async fn scribble(&self, _id: VolumeId, volume: &VolumeStatus, bytes: &[u8]) {
        let mut file = std::fs::OpenOptions::new().write(true).open(&volume.path).expect("the volume can be opened");
        file.seek(SeekFrom::Start(4096)).expect("the volume can be sought");
        file.write_all(bytes).expect("the volume can be written");
    }

    async fn hold(&self, _id: VolumeId, _volume: &VolumeStatus) -> Option<Box<dyn Any + Send>> {
        None
    }
}

/// The same, which holds a volume by having it open, as a process does that locks nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct HoldingProbe;

#[async_trait]
impl Probe for HoldingProbe {
    async fn fingerprint(&self, id: VolumeId, volume: &VolumeStatus, len: ByteSize) -> [u8; 32] {
        FileProbe.fingerprint(id, volume, len).await
    }

    async fn scribble(&self, id: VolumeId, volume: &VolumeStatus, bytes: &[u8]) {
        FileProbe.scribble(id, volume, bytes).await;
    }

    async fn hold(&self, _id: VolumeId, volume: &VolumeStatus) -> Option<Box<dyn Any + Send>> {
        let opened = std::fs::OpenOptions::new().read(true).write(true).open(&volume.path);
        Some(Box::new(opened.expect("the volume can be opened")))
    }
}

/// One fresh scene and what names its volumes.
pub(super) struct Stage {
    pub scene: StorageScene,
    pub env: Env,
}

impl Stage {
    pub async fn new(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) -> Self {
        Self { scene: make(folder.to_owned()).await, env: Env::seeded(5) }
    }

    pub fn id(&self) -> VolumeId {
        VolumeId::root(self.vm())
    }

    pub fn vm(&self) -> VmId {
        self.env.vm_id()
    }

    /// The image is there; its root's bytes.
    pub async fn image(&self) -> ByteSize {
        self.scene.storage.ensure_image(&cx(), &self.scene.bundle).await.unwrap();
        let images = self.scene.storage.images(&cx()).await.unwrap();
        images.iter().find(|image| image.id == self.scene.bundle.id).expect("it is listed").root_size
    }

    /// A volume from the image, twice as large as it.
    pub async fn volume(&self) -> VolumeConfig {
        let size = ByteSize::bytes(self.image().await.get() * 2);
        let config = VolumeConfig { id: self.id(), size, source: VolumeSource::Image(self.scene.bundle.id) };
        self.scene.storage.ensure_volume(&cx(), &config).await.unwrap();
        config
    }

    pub async fn status(&self, id: VolumeId) -> VolumeStatus {
        self.scene.storage.volume(&cx(), id).await.unwrap().expect("it is there")
    }

    pub async fn fingerprint(&self, config: &VolumeConfig) -> [u8; 32] {
        let status = self.status(config.id).await;
        self.scene.probe.fingerprint(config.id, &status, config.size).await
    }

    pub async fn scribble(&self, id: VolumeId) {
        let status = self.status(id).await;
        self.scene.probe.scribble(id, &status, b"a secret of this guest").await;
    }
}
