//! Files keep the contract of a storage on filesystems that share blocks and on those that do not.
//!
//! XFS and ext4 are made and mounted for it, which needs root; without, the cases run on whatever the temporary folder lies
//! on, and say so.
#![cfg(all(feature = "file-storage", feature = "testkit"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use minions_core::env::Env;
use minions_core::host::command::Tool;
use minions_core::host::{files, lookup};
use minions_core::storage::VolumeStatus;
use minions_core::storage::file::FileStorage;
use minions_core::testkit::skip;
use minions_core::testkit::storage::{HoldingProbe, Probe, StorageScene};
use minions_core::types::{BootFiles, ByteSize, FileDigest, ImageBundle, ImageDefaults, ImageManifest, VolumeId};

/// Three small files, and the id of what they hold.
fn bundle(folder: &Path) -> ImageBundle {
    let mut root = vec![7; 64 << 10];
    root.extend(vec![0; 1 << 20]);
    root.extend(vec![9; 4096]);
    let path = |name: &str| folder.join(name);
    std::fs::write(path("root"), &root).unwrap();
    std::fs::write(path("kernel"), b"kernel").unwrap();
    std::fs::write(path("initrd"), b"initrd").unwrap();
    let manifest = ImageManifest {
        name: "tiny".to_owned(),
        root: FileDigest::of(&root),
        kernel: FileDigest::of(b"kernel"),
        initrd: FileDigest::of(b"initrd"),
        defaults: ImageDefaults::default(),
    };
    let boot = BootFiles { kernel: path("kernel"), initrd: path("initrd") };
    ImageBundle { id: manifest.id(), name: manifest.name, root: path("root"), boot, defaults: manifest.defaults }
}

async fn file_scene(folder: &Path, at: &Path, probe: Box<dyn Probe>) -> StorageScene {
    let bundle = bundle(folder);
    let mut tampered = bundle.clone();
    tampered.boot.kernel = folder.join("initrd");
    let storage = FileStorage::open(at, Env::system()).await.unwrap();
    StorageScene { storage: Arc::new(storage), bundle, tampered: Some(tampered), probe }
}

/// A filesystem of its own, which goes with the scene.
#[derive(Debug)]
struct Mounted(std::fs::File);

#[async_trait]
impl Probe for Mounted {
    async fn fingerprint(&self, id: VolumeId, volume: &VolumeStatus, len: ByteSize) -> [u8; 32] {
        HoldingProbe.fingerprint(id, volume, len).await
    }

    async fn scribble(&self, id: VolumeId, volume: &VolumeStatus, bytes: &[u8]) {
        HoldingProbe.scribble(id, volume, bytes).await;
    }

    async fn hold(&self, id: VolumeId, volume: &VolumeStatus) -> Option<Box<dyn Any + Send>> {
        HoldingProbe.hold(id, volume).await
    }
}

impl Mounted {
    /// Makes and mounts one on a file; nothing but what is returned leads into it. `Err` says why that cannot be here.
    async fn new(folder: &Path, make: &str, words: &[&str]) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount".to_owned());
        }
        let Some(make) = lookup::find(make) else { return Err(format!("no {make}: apt-get install xfsprogs")) };
        let (disk, at) = (folder.join("disk"), folder.join("at"));
        std::fs::File::create(&disk).unwrap().set_len(384 << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        Tool::new(&make).args(words).arg(&disk).run().await.map_err(|error| error.to_string())?;
        let mount = Tool::new(Path::new("/bin/mount")).args(["-o", "loop"]).arg(&disk).arg(&at);
        mount.run().await.map_err(|error| error.to_string())?;
        let dir = files::open_dir(&at).unwrap();
        Tool::new(Path::new("/bin/umount")).arg("--lazy").arg(&at).run().await.map_err(|error| error.to_string())?;
        Ok(Self(dir))
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.0)).into()
    }
}

/// The suite on a filesystem of this kind, or loudly on whatever there is.
async fn mounted_scene(folder: &Path, make: &str, words: &[&str], shares: bool) -> StorageScene {
    match Mounted::new(folder, make, words).await {
        Ok(mounted) => {
            let at = mounted.path();
            let scene = file_scene(folder, &at, Box::new(mounted)).await;
            assert_eq!(scene.storage.capabilities().copy_on_write, shares, "{make}");
            scene
        }
        Err(why) => {
            skip(&format!("a case of the storage suite on {make}"), &why);
            file_scene(folder, &folder.join("s"), Box::new(HoldingProbe)).await
        }
    }
}

minions_core::storage_suite!(xfs, async |folder: PathBuf| {
    mounted_scene(&folder, "mkfs.xfs", &["-q", "-m", "reflink=1"], true).await
});

minions_core::storage_suite!(ext4, async |folder: PathBuf| {
    mounted_scene(&folder, "mkfs.ext4", &["-q", "-F"], false).await
});
