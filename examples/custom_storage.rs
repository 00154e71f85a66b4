//! A storage of your own, and the suite that says whether it keeps the contract.
//! `cargo test -p minions-examples --example custom_storage`
//!
//! This one keeps everything in maps: images whole, volumes as what was written over them. Yours keeps them where you
//! like; the suite asks the same of it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use minions_core::env::CallCx;
use minions_core::storage::{Storage, StorageCapabilities, StorageUsage, VolumeConfig, VolumeSource, VolumeStatus};
use minions_core::types::{
    ByteSize, FileDigest, ImageBundle, ImageId, ImageInfo, ImageManifest, StepReport, UnixMillis, VmId, VolumeId,
};
use minions_core::{Error, ErrorKind, Result};

/// Bytes over bytes: what was written, at its place.
type Written = BTreeMap<u64, Vec<u8>>;

/// Images and volumes in maps.
#[derive(Clone, Debug, Default)]
pub struct MapStorage(Arc<Mutex<Maps>>);

#[derive(Debug, Default)]
struct Maps {
    images: HashMap<ImageId, ImageInfo>,
    volumes: HashMap<VolumeId, Volume>,
    quarantine: HashMap<VolumeId, Volume>,
}

#[derive(Debug)]
struct Volume {
    size: ByteSize,
    base: VolumeSource,
    written: Written,
}

impl MapStorage {
    const MAX: ByteSize = ByteSize::gib(1 << 20);

    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a guest would do.
    pub fn write(&self, id: VolumeId, at: u64, bytes: &[u8]) {
        if let Some(volume) = self.maps().volumes.get_mut(&id) {
            volume.written.insert(at, bytes.to_vec());
        }
    }

    /// What a guest would see: its base, and what was written over it.
    pub fn read(&self, id: VolumeId) -> Option<(VolumeSource, Written)> {
        self.maps().volumes.get(&id).map(|volume| (volume.base, volume.written.clone()))
    }
}

#[async_trait]
impl Storage for MapStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities { name: "map".to_owned(), copy_on_write: true, simulated: false, max_volume: Self::MAX }
    }

    async fn usage(&self, _: &CallCx) -> Result<StorageUsage> {
        let used = self.maps().volumes.values().map(|volume| volume.size.get()).sum();
        Ok(StorageUsage { total: Self::MAX, used: ByteSize::bytes(used), metadata: None })
    }

    async fn ensure_image(&self, _: &CallCx, bundle: &ImageBundle) -> Result<StepReport> {
        // Large files belong on a blocking thread; these are small.
        let digest = |path: &PathBuf| match std::fs::read(path) {
            Ok(bytes) => Ok(FileDigest::of(&bytes)),
            Err(error) => Err(Error::invalid("image", "a file of the image cannot be read").with_source(error)),
        };
        let manifest = ImageManifest {
            name: bundle.name.clone(),
            root: digest(&bundle.root)?,
            kernel: digest(&bundle.boot.kernel)?,
            initrd: digest(&bundle.boot.initrd)?,
            defaults: bundle.defaults.clone(),
        };
        if manifest.id() != bundle.id {
            return Err(Error::invalid("image", "the files do not match the image's id; fetch them again"));
        }
        let image = ImageInfo {
            id: bundle.id,
            name: bundle.name.clone(),
            root_size: manifest.root.size,
            boot: bundle.boot.clone(),
            defaults: bundle.defaults.clone(),
            created: UnixMillis(0),
            damage: None,
        };
        self.maps().images.entry(bundle.id).or_insert(image);
        Ok(StepReport::empty())
    }

    async fn ensure_image_absent(&self, _: &CallCx, id: ImageId) -> Result<StepReport> {
        let mut maps = self.maps();
        let needs = |volume: &Volume| volume.base == VolumeSource::Image(id);
        if maps.volumes.values().chain(maps.quarantine.values()).any(needs) {
            return Err(Error::new(ErrorKind::Conflict, "a volume needs this image; destroy its VM first"));
        }
        maps.images.remove(&id);
        Ok(StepReport::empty())
    }

    async fn images(&self, _: &CallCx) -> Result<Vec<ImageInfo>> {
        Ok(self.maps().images.values().cloned().collect())
    }

    async fn ensure_volume(&self, _: &CallCx, config: &VolumeConfig) -> Result<StepReport> {
        let mut maps = self.maps();
        if config.size > Self::MAX {
            return Err(Error::new(ErrorKind::Exhausted, "this storage has no volumes of that size"));
        }
        if let Some(volume) = maps.volumes.get_mut(&config.id) {
            if config.size < volume.size {
                return Err(Error::invalid("size", "a volume never shrinks"));
            }
            volume.size = config.size;
            return Ok(StepReport::empty());
        }
        let least = match config.source {
            VolumeSource::Empty => ByteSize::bytes(0),
            VolumeSource::Image(id) => {
                let image = maps.images.get(&id).ok_or_else(|| Error::not_found("there is no such image"))?;
                image.root_size
            }
        };
        if config.size < least {
            return Err(Error::invalid("size", "a root disk is at least as large as its image"));
        }
        // One insert: the volume is there whole, or not at all.
        let volume = Volume { size: config.size, base: config.source, written: Written::new() };
        maps.volumes.insert(config.id, volume);
        Ok(StepReport::empty())
    }

    async fn ensure_volume_absent(&self, _: &CallCx, id: VolumeId) -> Result<StepReport> {
        self.maps().volumes.remove(&id);
        Ok(StepReport::empty())
    }

    async fn volumes_of(&self, _: &CallCx, vm: VmId) -> Result<Vec<VolumeStatus>> {
        let maps = self.maps();
        let status = |(id, volume): (&VolumeId, &Volume)| VolumeStatus {
            id: *id,
            size: volume.size,
            path: id.to_string().into(),
            whole: true,
            active: true,
        };
        Ok(maps.volumes.iter().filter(|(id, _)| id.vm == vm).map(status).collect())
    }

    async fn volumes(&self, _: &CallCx) -> Result<Vec<VolumeId>> {
        Ok(self.maps().volumes.keys().copied().collect())
    }

    async fn quarantine(&self, _: &CallCx, id: VolumeId) -> Result<StepReport> {
        let mut maps = self.maps();
        if let Some(volume) = maps.volumes.remove(&id) {
            maps.quarantine.insert(id, volume);
        } else if !maps.quarantine.contains_key(&id) {
            return Err(Error::not_found("there is no such volume to set aside"));
        }
        Ok(StepReport::empty())
    }

    async fn quarantined(&self, _: &CallCx) -> Result<Vec<VolumeId>> {
        Ok(self.maps().quarantine.keys().copied().collect())
    }
}

fn main() {
    println!("this storage is there to be tested: cargo test -p minions-examples --example custom_storage");
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::path::Path;

    use minions_core::testkit::storage::{Probe, StorageScene};
    use minions_core::types::{BootFiles, ImageDefaults};

    use super::*;

    minions_core::storage_suite!(map_storage, async |folder: PathBuf| {
        let storage = MapStorage::default();
        let bundle = bundle(&folder);
        let tampered = ImageBundle { root: bundle.boot.kernel.clone(), ..bundle.clone() };
        StorageScene {
            storage: Arc::new(storage.clone()),
            bundle,
            tampered: Some(tampered),
            probe: Box::new(MapProbe(storage)),
        }
    });

    /// Three small files that are an image.
    fn bundle(folder: &Path) -> ImageBundle {
        let file = |name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, name.repeat(1_000)).unwrap();
            (FileDigest::of(name.repeat(1_000).as_bytes()), path)
        };
        let ((root, root_path), (kernel, kernel_path), (initrd, initrd_path)) =
            (file("root"), file("kernel"), file("initrd"));
        let defaults = ImageDefaults::default();
        let manifest = ImageManifest { name: "tiny".to_owned(), root, kernel, initrd, defaults: defaults.clone() };
        let boot = BootFiles { kernel: kernel_path, initrd: initrd_path };
        ImageBundle { id: manifest.id(), name: "tiny".to_owned(), root: root_path, boot, defaults }
    }

    #[derive(Debug)]
    struct MapProbe(MapStorage);

    #[async_trait]
    impl Probe for MapProbe {
        async fn fingerprint(&self, id: VolumeId, _: &VolumeStatus, _: ByteSize) -> [u8; 32] {
            let seen = format!("{:?}", self.0.read(id));
            let digest = FileDigest::of(seen.as_bytes()).sha256;
            std::array::from_fn(|index| digest.as_bytes()[index])
        }

        async fn scribble(&self, id: VolumeId, _: &VolumeStatus, bytes: &[u8]) {
            self.0.write(id, 4096, bytes);
        }

        async fn hold(&self, _: VolumeId, _: &VolumeStatus) -> Option<Box<dyn Any + Send>> {
            None
        }
    }
}
