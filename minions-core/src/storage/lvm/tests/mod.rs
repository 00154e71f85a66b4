//! On a stand-in for lvm2: what each call costs, what a crash or a refusal leaves, who is never touched.

mod calls;
mod fake;
mod owner;
mod room;
mod trouble;
mod volumes;

use std::time::Duration;

use super::*;
use crate::error::{Effect, ErrorKind};
use crate::storage::{StorageExt, VolumeSource};
use crate::types::{BootFiles, FileDigest, ImageDefaults, ImageManifest};
use fake::{EXTENT, FakeLvm, Fault};

struct Lab {
    dir: tempfile::TempDir,
    fake: Arc<FakeLvm>,
    storage: LvmStorage,
    cx: CallCx,
}

/// Bytes of the image's root: more than an extent, so that sizes can differ.
const ROOT: u64 = (4 << 20) + (64 << 10);

/// The files of an image, and the id that their content has.
fn bundle(dir: &Path) -> ImageBundle {
    let mut root = vec![0; usize::try_from(ROOT).unwrap()];
    root[..4096].fill(7);
    root[1 << 20..(1 << 20) + 8192].fill(9);
    let path = |name: &str| dir.join(name);
    for (name, bytes) in [("root", root.as_slice()), ("kernel", b"k"), ("initrd", b"i")] {
        std::fs::write(path(name), bytes).unwrap();
    }
    let manifest = ImageManifest {
        name: "tiny".to_owned(),
        root: FileDigest::of(&root),
        kernel: FileDigest::of(b"k"),
        initrd: FileDigest::of(b"i"),
        defaults: ImageDefaults::default(),
    };
    ImageBundle {
        id: manifest.id(),
        name: manifest.name,
        root: path("root"),
        boot: BootFiles { kernel: path("kernel"), initrd: path("initrd") },
        defaults: manifest.defaults,
    }
}

async fn open(dir: &Path, fake: &Arc<FakeLvm>) -> Result<LvmStorage> {
    let config = LvmConfig { vg: "vg".to_owned(), ..LvmConfig::new(dir) };
    LvmStorage::open_with(config, fake.clone(), &fake.devices(), Env::system()).await
}

fn vm(number: u128) -> VmId {
    VmId::from_bits(number)
}

fn empty(id: VolumeId, size: ByteSize) -> VolumeConfig {
    VolumeConfig { id, size, source: VolumeSource::Empty }
}

impl Lab {
    async fn new() -> Self {
        Self::slow(Duration::ZERO).await
    }

    /// Each call of lvm2 takes this long.
    async fn slow(takes: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut fake = FakeLvm::new(&dir.path().join("lvm"));
        fake.takes = takes;
        let fake = Arc::new(fake);
        let storage = open(&dir.path().join("s"), &fake).await.unwrap();
        fake.take_log();
        Self { dir, fake, storage, cx: CallCx::new("test", Duration::from_secs(60)) }
    }

    /// The daemon of the next start.
    async fn again(&self) -> LvmStorage {
        open(&self.dir.path().join("s"), &self.fake).await.unwrap()
    }

    async fn image(&self) -> ImageBundle {
        let bundle = bundle(self.dir.path());
        self.storage.ensure_image(&self.cx, &bundle).await.unwrap();
        self.fake.take_log();
        bundle
    }

    fn root(&self, id: VmId, image: &ImageBundle) -> VolumeConfig {
        VolumeConfig { id: VolumeId::root(id), size: ByteSize::mib(64), source: VolumeSource::Image(image.id) }
    }

    /// The programs that ran since the last look.
    fn ran(&self) -> Vec<&'static str> {
        self.fake.take_log().into_iter().map(|command| command.program).collect()
    }

    /// Every call as a line, with the long parts of names cut.
    fn lines(&self) -> Vec<String> {
        let lines = self.fake.take_log().into_iter().map(|call| format!("{} {}", call.program, call.words.join(" ")));
        lines.collect()
    }
}

crate::storage_suite!(suite, async |folder: PathBuf| {
    let bundle = bundle(&folder);
    let mut tampered = bundle.clone();
    tampered.boot.kernel = folder.join("initrd");
    let fake = Arc::new(FakeLvm::new(&folder.join("lvm")));
    let storage = open(&folder.join("s"), &fake).await.unwrap();
    crate::testkit::storage::StorageScene {
        storage: Arc::new(storage),
        bundle,
        tampered: Some(tampered),
        probe: Box::new(crate::testkit::storage::HoldingProbe),
    }
});
