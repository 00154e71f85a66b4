//! Images and volumes on a real thin pool.
//!
//! `MINIONS_LVM` names a device that may be overwritten, on a machine with lvm2 and device-mapper; without it every case
//! is skipped, and says so. One at a time: `--test-threads 1`. `scripts/lab/b --run` brings such a machine.
#![cfg(all(feature = "lvm", feature = "file-storage", feature = "testkit"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use minions_core::ErrorKind;
use minions_core::env::{CallCx, Env};
use minions_core::host::command::Tool;
use minions_core::host::preflight::FindingStatus;
use minions_core::storage::file::FileStorage;
use minions_core::storage::lvm::{LvmConfig, LvmStorage, UDEV_FILES, ensure_pool, plan_pool, preflight, udev_rule};
use minions_core::storage::{DynStorage, Storage, StorageExt, VolumeConfig, VolumeSource};
use minions_core::testkit::skip;
use minions_core::testkit::storage::{HoldingProbe, StorageScene};
use minions_core::types::{BootFiles, ByteSize, FileDigest, ImageBundle, ImageDefaults, ImageManifest, VmId, VolumeId};

/// The device, or a loud skip.
#[expect(clippy::disallowed_methods, reason = "a test's switch")]
fn device(test: &str) -> Option<PathBuf> {
    let device = std::env::var_os("MINIONS_LVM").map(PathBuf::from);
    if device.is_none() {
        skip(test, "MINIONS_LVM names no device for a thin pool");
    }
    device
}

async fn run(program: &str, words: &[&str]) -> String {
    let program = Path::new("/usr/sbin").join(program);
    let output = Tool::new(&program).args(words).limit(Duration::from_secs(120)).run().await;
    let output = output.unwrap_or_else(|error| panic!("{} {words:?}: {error}", program.display()));
    String::from_utf8(output.stdout).unwrap()
}

fn cx() -> CallCx {
    CallCx::new("test", Duration::from_secs(120))
}

fn bundle(folder: &Path) -> ImageBundle {
    let mut root = vec![7; 64 << 10];
    root.extend(vec![0; 9 << 20]);
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

fn config(folder: &Path) -> LvmConfig {
    LvmConfig { vg: "mnstest".to_owned(), ..LvmConfig::new(folder) }
}

/// A storage without volumes in the group of the tests, which is made where it is not there.
async fn storage(device: &Path, folder: &Path) -> LvmStorage {
    let config = config(folder);
    ensure_pool(&config, &[device.to_owned()]).await.unwrap();
    for file in UDEV_FILES {
        std::fs::write(file, udev_rule(&config.vg)).unwrap();
    }
    run("lvremove", &["--yes", "--select", "lv_tags=minions", "mnstest"]).await;
    LvmStorage::open(config, Env::system()).await.unwrap()
}

/// A suite needs a scene for each of its cases; without a device, files stand in, and the skip is told.
async fn scene(folder: PathBuf) -> StorageScene {
    let bundle = bundle(&folder);
    let mut tampered = bundle.clone();
    tampered.boot.kernel = folder.join("initrd");
    let folder = folder.join("s");
    let storage: DynStorage = match device("a case of the suite on LVM") {
        Some(device) => Arc::new(storage(&device, &folder).await),
        None => Arc::new(FileStorage::open(&folder, Env::system()).await.unwrap()),
    };
    StorageScene { storage, bundle, tampered: Some(tampered), probe: Box::new(HoldingProbe) }
}

mod real {
    use super::*;

    minions_core::storage_suite!(suite, async |folder: PathBuf| scene(folder).await);
}

fn fill(path: &Path, pattern: &[u8; 16], bytes: u64) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    let block = pattern.repeat(64 << 10 >> 4);
    for _ in 0..bytes >> 16 {
        file.write_all(&block)?;
    }
    file.sync_all()
}

/// How often a pattern is found in the first bytes.
fn seek_pattern(path: &Path, pattern: &[u8; 16], bytes: u64) -> usize {
    let mut read = Vec::new();
    std::fs::File::open(path).unwrap().take(bytes).read_to_end(&mut read).unwrap();
    read.chunks(16).filter(|chunk| chunk == pattern).count()
}

fn empty(id: VolumeId, size: ByteSize) -> VolumeConfig {
    VolumeConfig { id, size, source: VolumeSource::Empty }
}

/// What a write of one sector takes: memory that begins where a page does.
#[repr(align(4096))]
struct Sector([u8; 512]);

/// One sector at the beginning of each piece that the pool gives out, past every cache: the pool gives out all of the
/// piece for it, and the rest of it is what was there.
fn touch(path: &Path, bytes: u64) {
    let mut options = std::fs::OpenOptions::new();
    let direct = i32::try_from((rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::SYNC).bits()).unwrap();
    let file = std::os::unix::fs::OpenOptionsExt::custom_flags(options.write(true), direct).open(path).unwrap();
    let sector = Sector([b'x'; 512]);
    for at in (0..bytes).step_by(64 << 10) {
        std::os::unix::fs::FileExt::write_all_at(&file, &sector.0, at).unwrap();
    }
}

/// Makes volumes one after the other, and tells how many pieces of what one held appear in those behind it.
async fn leaks(storage: &LvmStorage, cycles: std::ops::Range<u128>) -> usize {
    let (bytes, mut leaked) = (4 << 20, 0);
    for cycle in cycles {
        let config = empty(VolumeId::data(VmId::from_bits(cycle)), ByteSize::bytes(bytes));
        storage.ensure_volume(&cx(), &config).await.unwrap();
        let path = storage.volume(&cx(), config.id).await.unwrap().unwrap().path;
        touch(&path, bytes);
        leaked += seek_pattern(&path, b"a secret pattern", bytes);
        fill(&path, b"a secret pattern", bytes).unwrap();
        assert_eq!(seek_pattern(&path, b"a secret pattern", bytes), usize::try_from(bytes).unwrap() / 16);
        match cycle % 2 {
            0 => storage.ensure_volume_absent(&cx(), config.id).await.map(drop).unwrap(),
            // Without a discard, as an operator would: what it held stays on the disk below.
            _ => drop(run("lvremove", &["--yes", &format!("mnsmall/{}", path.file_name().unwrap().display())]).await),
        }
    }
    leaked
}

#[tokio::test]
async fn ctl_8_1_what_a_destroyed_volume_held_never_appears_in_the_next_one() {
    if device("no leak between volumes").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // So small that its pieces are given out again and again.
    let (config, loops) = small(folder.path(), "4m").await;
    let storage = LvmStorage::open(config, Env::system()).await.unwrap();
    assert_eq!(leaks(&storage, 0..100).await, 0);
    let used = storage.usage(&cx()).await.unwrap().used;
    assert!(used <= ByteSize::mib(1), "{used} is left in use");
    run("lvchange", &["--zero", "n", "mnsmall/pool"]).await;
    let leaked = leaks(&storage, 100..106).await;
    println!("without zeroing {leaked} pieces of others' bytes were seen");
    assert!(leaked > 0, "this test would not notice a pool that does not zero what it gives out");
    drop(storage);
    end(&loops).await;
}

#[tokio::test]
async fn a_volume_grows_while_it_is_open_and_keeps_its_bytes() {
    let Some(device) = device("growth while open") else { return };
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&device, folder.path()).await;
    let config = empty(VolumeId::data(VmId::from_bits(1)), ByteSize::mib(8));
    storage.ensure_volume(&cx(), &config).await.unwrap();
    let status = storage.volume(&cx(), config.id).await.unwrap().unwrap();
    let mut held = std::fs::OpenOptions::new().read(true).write(true).open(&status.path).unwrap();
    held.write_all(b"the guest's").unwrap();
    held.sync_all().unwrap();
    storage.ensure_volume(&cx(), &VolumeConfig { size: ByteSize::mib(64), ..config.clone() }).await.unwrap();
    assert_eq!(held.seek(SeekFrom::End(0)).unwrap(), 64 << 20, "whoever has it open sees the new size");
    let mut read = [0; 11];
    held.rewind().unwrap();
    held.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"the guest's");
    let error = storage.ensure_volume_absent(&cx(), config.id).await.expect_err("it is open");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    drop(held);
    storage.ensure_volume_absent(&cx(), config.id).await.unwrap();
}

#[tokio::test]
async fn what_the_pool_is_told_holds() {
    let Some(device) = device("the pool as it was asked for") else { return };
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&device, folder.path()).await;
    let bundle = bundle(folder.path());
    storage.ensure_image(&cx(), &bundle).await.unwrap();
    let size = ByteSize::mib(64);
    let root = VolumeConfig { id: VolumeId::root(VmId::from_bits(1)), size, source: VolumeSource::Image(bundle.id) };
    storage.ensure_volume(&cx(), &root).await.unwrap();
    assert_eq!(plan_pool(&config(folder.path()), &[]).await.unwrap(), [], "all is as it should be");
    let fields = "lv_name,lv_active,lv_permissions,lv_skip_activation,lv_tags,zero,lv_when_full,discards,chunk_size";
    let said = run("lvs", &["--noheadings", "-o", fields, "mnstest"]).await;
    println!("{said}");
    let image = said.lines().find(|line| line.trim().starts_with("img_")).unwrap();
    assert!(image.contains("read-only") && image.contains("skip activation"), "{image}");
    assert!(!Path::new("/dev/mnstest").join(bundle.id.to_string()).exists(), "an image is never active");
    let findings = preflight(&config(folder.path())).await;
    for finding in &findings {
        println!("{:?} {} {} {:?}", finding.status, finding.id, finding.message, finding.fix);
    }
    assert!(findings.iter().all(|finding| finding.status != FindingStatus::Fail), "{findings:?}");
    // A filesystem of the guest's is nothing that the host knows of.
    let path = storage.volume(&cx(), root.id).await.unwrap().unwrap().path;
    let mke2fs = Tool::new(Path::new("/usr/sbin/mke2fs")).args(["-q", "-t", "ext4"]).arg(&path);
    mke2fs.run().await.unwrap();
    let udevadm = |words: &[&str]| Tool::new(Path::new("/usr/bin/udevadm")).args(words);
    udevadm(&["settle"]).run().await.unwrap();
    let known = udevadm(&["info", "--query=property"]).arg(&path).run().await.unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    assert!(known.contains("DM_LV_NAME=vm_") && !known.contains("ID_FS_"), "{known}");
    // A boot of the host, and the daemon's start after it.
    run("vgchange", &["--activate", "n", "mnstest"]).await;
    run("vgchange", &["--activate", "ay", "mnstest"]).await;
    assert!(!storage.volume(&cx(), root.id).await.unwrap().unwrap().active, "the host's boot wakes none");
    let storage = LvmStorage::open(config(folder.path()), Env::system()).await.unwrap();
    let status = storage.volume(&cx(), root.id).await.unwrap().unwrap();
    assert!(status.active && status.path.exists(), "{status:?}");
}

/// A group on a loop device of its own, small enough to be filled.
async fn small(folder: &Path, metadata: &str) -> (LvmConfig, String) {
    let file = folder.join("disk");
    std::fs::File::create(&file).unwrap().set_len(512 << 20).unwrap();
    let loops = run("losetup", &["--find", "--show", file.to_str().unwrap()]).await.trim().to_owned();
    run("vgcreate", &["mnsmall", &loops]).await;
    let words =
        ["--yes", "--type", "thin-pool", "--name", "pool", "--size", "64m", "--chunksize", "64k", "--zero", "y"];
    run(
        "lvcreate",
        &[&words[..], &["--config", "activation/error_when_full=1", "--poolmetadatasize", metadata, "mnsmall"]]
            .concat(),
    )
    .await;
    (LvmConfig { vg: "mnsmall".to_owned(), ..LvmConfig::new(&folder.join("s")) }, loops)
}

async fn end(loops: &str) {
    run("vgremove", &["--yes", "mnsmall"]).await;
    run("pvremove", &["--yes", loops]).await;
    run("losetup", &["--detach", loops]).await;
}

#[tokio::test]
async fn rp_5_a_full_pool_tells_writers_an_error_refuses_new_work_and_recovers_when_it_grows() {
    if device("a pool that is full").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (config, loops) = small(folder.path(), "4m").await;
    let storage = LvmStorage::open(config.clone(), Env::system()).await.unwrap();
    let one = empty(VolumeId::data(VmId::from_bits(1)), ByteSize::mib(256));
    storage.ensure_volume(&cx(), &one).await.unwrap();
    let path = storage.volume(&cx(), one.id).await.unwrap().unwrap().path;
    let error = fill(&path, b"fills everything", 128 << 20).expect_err("it is larger than the pool");
    println!("the writer was told: {error}");
    let error =
        storage.ensure_volume(&cx(), &empty(VolumeId::data(VmId::from_bits(2)), ByteSize::mib(4))).await.unwrap_err();
    println!("refused: {}", error.chain());
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("pool_full")));
    let findings = preflight(&config).await;
    assert!(findings.iter().any(|finding| finding.id == "lvm_data" && finding.status == FindingStatus::Warn));
    storage.ensure_volume(&cx(), &one).await.expect("what is there stays there");
    // As the refusal says.
    run("lvextend", &["--size", "+200m", "mnsmall/pool"]).await;
    // The report that refused is not asked again for two seconds.
    storage.volumes(&cx()).await.unwrap();
    let two = empty(VolumeId::data(VmId::from_bits(2)), ByteSize::mib(4));
    storage.ensure_volume(&cx(), &two).await.expect("there is room again");
    fill(&path, b"fills everything", 96 << 20).expect("there is room again");
    for id in storage.volumes(&cx()).await.unwrap() {
        storage.ensure_volume_absent(&cx(), id).await.unwrap();
    }
    drop(storage);
    end(&loops).await;
}

#[tokio::test]
async fn ctl_8_2_a_pool_whose_metadata_fills_up_refuses_new_work_and_recovers_when_it_grows() {
    if device("a pool whose metadata is full").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (config, loops) = small(folder.path(), "2m").await;
    let storage = LvmStorage::open(config.clone(), Env::system()).await.unwrap();
    let (one, two) = (empty(VolumeId::data(VmId::from_bits(1)), ByteSize::mib(4)), VolumeId::data(VmId::from_bits(2)));
    storage.ensure_volume(&cx(), &one).await.unwrap();
    let mut made = 0;
    while storage.ensure_volume(&cx(), &empty(two, ByteSize::mib(4))).await.is_ok() {
        storage.ensure_volume_absent(&cx(), two).await.unwrap();
        assert!(made < 600, "it never fills up");
        // Thin devices that lvm2 knows nothing of: each takes a piece of metadata and none of the data.
        for _ in 0..60 {
            made += 1;
            let message = format!("create_thin {}", 100_000 + made);
            run("dmsetup", &["message", "mnsmall-pool-tpool", "0", &message]).await;
        }
    }
    let error = storage.ensure_volume(&cx(), &empty(two, ByteSize::mib(4))).await.unwrap_err();
    println!("refused after {made}: {}; {:?}", error.chain(), storage.usage(&cx()).await.unwrap());
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("pool_full")));
    let path = storage.volume(&cx(), one.id).await.unwrap().unwrap().path;
    fill(&path, b"still can write.", 1 << 20).expect("who is there already goes on");
    run("lvextend", &["--poolmetadatasize", "+8m", "mnsmall/pool"]).await;
    // The report that refused is not asked again for two seconds.
    storage.volumes(&cx()).await.unwrap();
    storage.ensure_volume(&cx(), &empty(two, ByteSize::mib(4))).await.expect("there is room again");
    for id in storage.volumes(&cx()).await.unwrap() {
        storage.ensure_volume_absent(&cx(), id).await.unwrap();
    }
    drop(storage);
    end(&loops).await;
}
