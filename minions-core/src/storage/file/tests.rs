//! What the conformance suite cannot know of: files, crashes, bad sources.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;
use crate::error::ErrorKind;
use crate::host::lock;
use crate::storage::{StorageExt, VolumeSource};
use crate::types::{BootFiles, FileDigest, ImageDefaults, ImageManifest, VmId};

struct Lab {
    dir: PathBuf,
    storage: FileStorage,
    cx: CallCx,
}

impl Lab {
    async fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("minions-file-{}-{name}", std::process::id()));
        files::dir_absent(&dir).unwrap();
        files::make_dir(&dir.join("src")).unwrap();
        let storage = FileStorage::open(&dir.join("s"), Env::system()).await.unwrap();
        Self { dir, storage, cx: CallCx::new("test", Duration::from_secs(60)) }
    }

    /// The three files of a source, and the id that their content has.
    fn bundle(&self, root: &[u8]) -> ImageBundle {
        let path = |name: &str| self.dir.join("src").join(name);
        for (name, bytes) in [("root", root), ("kernel", b"k"), ("initrd", b"i")] {
            std::fs::write(path(name), bytes).unwrap();
        }
        let manifest = ImageManifest {
            name: "tiny".to_owned(),
            root: FileDigest::of(root),
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

    async fn refused(&self, bundle: &ImageBundle) -> String {
        let error = self.storage.ensure_image(&self.cx, bundle).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        assert!(self.storage.images(&self.cx).await.unwrap().is_empty(), "half an image is there");
        assert!(files::names(&self.dir.join("s/tmp")).unwrap().is_empty(), "something is left behind");
        error.to_string()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A root with a hole in its middle.
fn root() -> Vec<u8> {
    let mut root = vec![7; 8192];
    root.extend(vec![0; 1 << 20]);
    root.extend(vec![9; 4096]);
    root
}

#[tokio::test]
async fn bad_22_what_is_no_raw_regular_stable_file_is_refused_and_leaves_nothing() {
    let lab = Lab::new("bad").await;
    for (root, word) in [(b"QFI\xfb....".as_slice(), "qcow2"), (b"KDMV....", "VMDK"), (b"", "empty")] {
        let text = lab.refused(&lab.bundle(root)).await;
        assert!(text.contains(word), "{text}");
    }
    let mut bundle = lab.bundle(b"fine");
    let link = lab.dir.join("src/link");
    symlink(&bundle.root, &link).unwrap();
    bundle.root = link;
    assert!(lab.refused(&bundle).await.contains("symbolic link"));
    for (path, word) in [("/dev/zero", "regular"), ("/dev", "regular"), ("/nonexistent", "cannot be read")] {
        bundle.root = PathBuf::from(path);
        let text = lab.refused(&bundle).await;
        assert!(text.contains(word), "{path}: {text}");
    }
    let huge = lab.dir.join("src/huge");
    std::fs::File::create(&huge).unwrap().set_len(2 << 40).unwrap();
    bundle.root = huge;
    assert!(lab.refused(&bundle).await.contains("more than any image"));
    let pipe = lab.dir.join("src/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    bundle.root = pipe;
    assert!(lab.refused(&bundle).await.contains("regular"));
}

#[tokio::test]
async fn bad_22_a_file_that_is_written_while_it_is_copied_is_refused() {
    let lab = Lab::new("changing").await;
    let bundle = lab.bundle(b"fine");
    // Large enough to be written again and again while it is read.
    let file = std::fs::OpenOptions::new().write(true).open(&bundle.root).unwrap();
    file.set_len(64 << 20).unwrap();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let ended = ended.clone();
        move || {
            while !ended.load(std::sync::atomic::Ordering::Acquire) {
                std::os::unix::fs::FileExt::write_all_at(&file, b"again", 0).unwrap();
            }
        }
    });
    let text = lab.refused(&bundle).await;
    ended.store(true, std::sync::atomic::Ordering::Release);
    writer.join().unwrap();
    assert!(text.contains("changed while it was copied"), "{text}");
}

#[tokio::test]
async fn bad_22_an_image_is_its_own_copy_which_nobody_changes() {
    let lab = Lab::new("own").await;
    let bundle = lab.bundle(&root());
    lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
    std::fs::write(&bundle.root, b"changed afterwards").unwrap();
    std::fs::write(&bundle.boot.kernel, b"changed afterwards").unwrap();
    let dir = lab.dir.join("s/images").join(bundle.id.to_string());
    assert_eq!(std::fs::read(dir.join("root.raw")).unwrap(), root());
    for name in files::names(&dir).unwrap() {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(dir.join(&name)).unwrap());
        assert_eq!(mode & 0o333, 0, "{name} can be written: {mode:o}");
    }
    // The same id again is the same image, whatever the files say by now.
    lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
    assert_eq!(std::fs::read(dir.join("root.raw")).unwrap(), root());
}

#[tokio::test]
async fn bad_22_files_of_another_id_are_refused() {
    let lab = Lab::new("digest").await;
    let bundle = lab.bundle(b"one");
    std::fs::write(&bundle.boot.kernel, b"another kernel").unwrap();
    lab.refused(&bundle).await;
}

#[tokio::test]
async fn a_volume_has_its_images_bytes_and_holes_and_grows_only() {
    let lab = Lab::new("volume").await;
    let bundle = lab.bundle(&root());
    lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
    let id = VolumeId::root(VmId::from_bits(5));
    let mut config = VolumeConfig { id, size: ByteSize::mib(4), source: VolumeSource::Image(bundle.id) };
    lab.storage.ensure_volume(&lab.cx, &config).await.unwrap();
    let status = lab.storage.volume(&lab.cx, id).await.unwrap().unwrap();
    assert_eq!(status.size, ByteSize::mib(4));
    let bytes = std::fs::read(&status.path).unwrap();
    assert_eq!(&bytes[..root().len()], root().as_slice());
    assert!(bytes[root().len()..].iter().all(|&byte| byte == 0));
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&status.path).unwrap());
    assert!(blocks * 512 < 1 << 20, "the hole was filled: {blocks} blocks");

    std::fs::write(&status.path, b"the guest's").unwrap();
    config.size = ByteSize::mib(8);
    lab.storage.ensure_volume(&lab.cx, &config).await.unwrap();
    let bytes = std::fs::read(&status.path).unwrap();
    assert_eq!((&bytes[..11], bytes.len()), (b"the guest's".as_slice(), 8 << 20));
    config.size = ByteSize::mib(5);
    let error = lab.storage.ensure_volume(&lab.cx, &config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    let error = lab.storage.ensure_image_absent(&lab.cx, bundle.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    lab.storage.ensure_volume_absent(&lab.cx, id).await.unwrap();
    lab.storage.ensure_image_absent(&lab.cx, bundle.id).await.unwrap();
    assert!(lab.storage.images(&lab.cx).await.unwrap().is_empty());
}

#[tokio::test]
async fn inv_3_a_volume_that_a_process_holds_is_not_removed() {
    let lab = Lab::new("in-use").await;
    let id = VolumeId::data(VmId::from_bits(6));
    let config = VolumeConfig { id, size: ByteSize::mib(1), source: VolumeSource::Empty };
    lab.storage.ensure_volume(&lab.cx, &config).await.unwrap();
    let path = lab.storage.volume(&lab.cx, id).await.unwrap().unwrap().path;
    let held = files::open_write_existing(&path).unwrap();
    assert!(lock::try_lock(&held).unwrap());
    let error = lab.storage.ensure_volume_absent(&lab.cx, id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(lab.storage.volume(&lab.cx, id).await.unwrap().is_some());
    drop(held);
    for _ in 0..2 {
        lab.storage.ensure_volume_absent(&lab.cx, id).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_crash_left_half_made_is_never_seen_and_cleared_at_the_next_start() {
    let lab = Lab::new("crash").await;
    let bundle = lab.bundle(&root());
    let id = VolumeId::root(VmId::from_bits(8));
    let half = lab.dir.join("s/tmp").join(crate::types::names::volume(id));
    files::make_dir(&half).unwrap();
    std::fs::write(half.join("disk.raw"), b"half").unwrap();
    files::make_dir(&lab.dir.join("s/tmp").join(bundle.id.to_string())).unwrap();
    assert_eq!(lab.storage.volumes(&lab.cx).await.unwrap(), [id]);
    assert!(!lab.storage.volume(&lab.cx, id).await.unwrap().unwrap().whole);
    // What is taken away is cleared, what is asked for again is finished.
    lab.storage.ensure_volume_absent(&lab.cx, id).await.unwrap();
    assert!(lab.storage.volume(&lab.cx, id).await.unwrap().is_none());
    files::make_dir(&half).unwrap();
    std::fs::write(half.join("disk.raw"), b"half").unwrap();
    // The same call repeated finishes it.
    lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
    let config = VolumeConfig { id, size: ByteSize::mib(4), source: VolumeSource::Image(bundle.id) };
    lab.storage.ensure_volume(&lab.cx, &config).await.unwrap();
    let status = lab.storage.volume(&lab.cx, id).await.unwrap().unwrap();
    assert!(status.whole);
    assert_eq!(std::fs::read(status.path).unwrap()[..4], [7; 4]);
    // And a start clears what nobody repeats, but not what somebody works on.
    files::make_dir(&half).unwrap();
    let busy = crate::storage::bundle::stage::Stage::begin(&lab.dir.join("s/tmp"), "busy").unwrap();
    FileStorage::open(&lab.dir.join("s"), Env::system()).await.unwrap();
    assert_eq!(files::names(&lab.dir.join("s/tmp")).unwrap(), ["busy"]);
    drop(busy);
    assert!(files::names(&lab.dir.join("s/tmp")).unwrap().is_empty());
}

#[tokio::test]
async fn a_volume_set_aside_is_kept_but_not_listed_even_if_its_name_comes_again() {
    let lab = Lab::new("quarantine").await;
    let id = VolumeId::data(VmId::from_bits(9));
    let config = VolumeConfig { id, size: ByteSize::mib(1), source: VolumeSource::Empty };
    for _ in 0..2 {
        lab.storage.ensure_volume(&lab.cx, &config).await.unwrap();
        lab.storage.quarantine(&lab.cx, id).await.unwrap();
        lab.storage.quarantine(&lab.cx, id).await.unwrap();
    }
    assert!(lab.storage.volumes(&lab.cx).await.unwrap().is_empty());
    assert_eq!(lab.storage.quarantined(&lab.cx).await.unwrap(), [id]);
    assert_eq!(files::names(&lab.dir.join("s/quarantine")).unwrap().len(), 2, "one of them was lost");
}

#[tokio::test]
async fn ctl_10_1_a_kernel_or_an_initrd_that_is_not_what_was_taken_in_is_told_and_comes_back_with_the_image() {
    let lab = Lab::new("damaged").await;
    let bundle = lab.bundle(&root());
    lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
    let image = async || lab.storage.images(&lab.cx).await.unwrap().remove(0);
    assert_eq!(image().await.damage, None);
    for (name, bytes) in [("kernel", b"K"), ("initrd", b"I")] {
        let path = lab.dir.join("s/images").join(bundle.id.to_string()).join(name);
        std::fs::remove_file(&path).unwrap();
        let damage = image().await.damage.expect("it is gone");
        assert!(damage.contains(name) && damage.contains("cannot be read"), "{damage}");
        std::fs::write(&path, bytes).unwrap();
        let damage = image().await.damage.expect("it is another one");
        assert!(damage.contains(&path.display().to_string()) && damage.contains("SHA-256"), "{damage}");
        lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
        assert_eq!(image().await.damage, None);
    }
    assert!(files::names(&lab.dir.join("s/tmp")).unwrap().is_empty(), "something is left behind");
}
