//! On a stand-in for lvm2: what each call costs, what a crash or a refusal leaves, who is never touched.

use std::time::Duration;

use super::fake::{EXTENT, FakeLvm, Fault};
use super::*;
use crate::error::{Effect, ErrorKind};
use crate::storage::{StorageExt, VolumeSource};
use crate::types::{BootFiles, FileDigest, ImageDefaults, ImageManifest};

pub(super) struct Lab {
    dir: tempfile::TempDir,
    pub fake: Arc<FakeLvm>,
    pub storage: LvmStorage,
    pub cx: CallCx,
}

/// Bytes of the image's root: more than an extent, so that sizes can differ.
const ROOT: u64 = (4 << 20) + (64 << 10);

/// The files of an image, and the id that their content has.
pub(super) fn bundle(dir: &Path) -> ImageBundle {
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

pub(super) async fn open(dir: &Path, fake: &Arc<FakeLvm>) -> Result<LvmStorage> {
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

#[tokio::test]
async fn these_are_the_words_of_every_command() {
    let lab = Lab::new().await;
    let bundle = bundle(lab.dir.path());
    let image = bundle.id.to_string();
    lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
    let one = vm(1);
    lab.storage.ensure_volume(&lab.cx, &lab.root(one, &bundle)).await.unwrap();
    let data = empty(VolumeId::data(one), ByteSize::gib(10));
    lab.storage.ensure_volume(&lab.cx, &data).await.unwrap();
    lab.storage.quarantine(&lab.cx, data.id).await.unwrap();
    lab.storage.ensure_volume_absent(&lab.cx, VolumeId::root(one)).await.unwrap();
    lab.fake.reboot();
    lab.fake.world().lvs.get_mut("pool").unwrap().active = true;
    lab.storage.ensure_volume(&lab.cx, &empty(VolumeId::data(vm(3)), ByteSize::mib(1))).await.unwrap();
    lab.fake.reboot();
    lab.again().await;
    let lines = lab.lines().join("\n").replace(&image, "IMG").replace(&one.to_string(), "VM1");
    let lines = lines.replace(&vm(3).to_string(), "VM3");
    let report = "lvs --reportformat json --units b --nosuffix --binary --options lv_name,lv_size,lv_tags,pool_lv,segtype,\
        lv_active_locally,lv_device_open,lv_permissions,lv_health_status,lv_check_needed,data_percent,metadata_percent,\
        lv_metadata_size,zero,lv_when_full,discards,seg_monitor,vg_extent_size,vg_free -- vg";
    let create = "--setactivationskip y --activate y --ignoreactivationskip";
    let want = format!(
        "{report}
lvcreate A --type thin --thinpool pool --virtualsize 4259840b --wipesignatures n --name IMG --addtag minions --addtag minions.making {create} -- vg
lvchange A --activate n -- vg/IMG
lvchange A --permission r --setactivationskip y --deltag minions.making -- vg/IMG
{report}
lvcreate A --snapshot --name VM1.root --addtag minions --addtag minions.id=VM1.root --addtag minions.image=IMG {create} -- vg/IMG
lvextend A --size 67108864b -- vg/VM1.root
lvcreate A --type thin --thinpool pool --virtualsize 10737418240b --wipesignatures n --name VM1.data --addtag minions --addtag minions.id=VM1.data {create} -- vg
{report}
lvchange A --activate n -- vg/VM1.data
lvchange A --addtag minions.quarantined -- vg/VM1.data
lvrename A -- vg VM1.data VM1.data+0
{report}
lvremove A -- vg/VM1.root
lvcreate A --type thin --thinpool pool --virtualsize 1048576b --wipesignatures n --name VM3.data --addtag minions --addtag minions.id=VM3.data {create} -- vg
{report}
lvchange A --activate y --ignoreactivationskip -- vg/pool
lvchange A --activate y --ignoreactivationskip -- vg/VM3.data"
    )
    .replace(" A ", " --yes --config backup/archive=0 ");
    for (number, (line, want)) in lines.lines().zip(want.lines()).enumerate() {
        assert_eq!(line, want, "line {number}");
    }
    assert_eq!(lines.lines().count(), want.lines().count(), "{lines}");
}

#[tokio::test]
async fn a_create_costs_three_changing_commands_and_one_report_for_each_look() {
    let lab = Lab::new().await;
    let image = lab.image().await;
    assert_eq!(lab.storage.volumes_of(&lab.cx, vm(1)).await.unwrap(), []);
    let (root, data) = (lab.root(vm(1), &image), empty(VolumeId::data(vm(1)), ByteSize::mib(64)));
    let make = async |config| lab.storage.ensure_volume(&lab.cx, config).await;
    let (one, other) = tokio::join!(make(&root), make(&data));
    one.and(other).unwrap();
    assert_eq!(lab.storage.volumes_of(&lab.cx, vm(1)).await.unwrap().len(), 2);
    let mut ran = lab.ran();
    ran[1..4].sort_unstable();
    assert_eq!(ran, ["lvs", "lvcreate", "lvcreate", "lvextend", "lvs"]);
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_while_a_report_runs_share_the_next_one() {
    let lab = Lab::slow(Duration::from_millis(100)).await;
    let ask = |number| {
        let (storage, cx) = (lab.storage.clone(), CallCx::new("test", Duration::from_secs(600)));
        tokio::spawn(async move {
            match number % 3 {
                0 => storage.volumes(&cx).await.map(drop),
                1 => storage.volumes_of(&cx, vm(number)).await.map(drop),
                _ => storage.images(&cx).await.map(drop),
            }
        })
    };
    let first = ask(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let rest: Vec<_> = (1..200).map(ask).collect();
    for asked in std::iter::once(first).chain(rest) {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(lab.ran(), ["lvs", "lvs"]);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_of_after_the_question() {
    let lab = Lab::slow(Duration::from_millis(100)).await;
    let storage = lab.storage.clone();
    let early = tokio::spawn(async move { storage.volumes(&CallCx::new("t", Duration::from_secs(60))).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    lab.fake.add(&names::volume(VolumeId::data(vm(5))), "thin", EXTENT, &["minions"]);
    assert_eq!(lab.storage.volumes(&lab.cx).await.unwrap(), [VolumeId::data(vm(5))]);
    early.await.unwrap().unwrap();
    assert_eq!(lab.ran().len(), 2);
}

#[tokio::test]
async fn fk_10_what_is_not_ours_is_never_listed_and_never_touched() {
    let lab = Lab::new().await;
    let (id, image) = (VolumeId::root(vm(1)), bundle(lab.dir.path()));
    lab.fake.add(&names::volume(id), "thin", EXTENT, &["theirs"]);
    lab.fake.add(&image.id.to_string(), "thin", EXTENT, &[]);
    lab.fake.add("home", "linear", EXTENT, &[]);
    lab.fake.add("renamed", "thin", EXTENT, &["minions"]);
    let before = format!("{:?}", lab.fake.world().lvs);
    let cx = &lab.cx;
    assert_eq!(lab.storage.volumes(cx).await.unwrap(), []);
    assert_eq!(lab.storage.volumes_of(cx, id.vm).await.unwrap(), []);
    assert_eq!(lab.storage.images(cx).await.unwrap(), []);
    for error in [
        lab.storage.ensure_volume(cx, &empty(id, ByteSize::gib(1))).await.unwrap_err(),
        lab.storage.ensure_image(cx, &image).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::AlreadyExists, Effect::None), "{}", error.chain());
    }
    lab.storage.ensure_volume_absent(cx, id).await.unwrap();
    lab.storage.ensure_image_absent(cx, image.id).await.unwrap();
    assert_eq!(lab.storage.quarantine(cx, id).await.unwrap_err().kind(), ErrorKind::NotFound);
    lab.fake.reboot();
    lab.again().await;
    assert!(!lab.fake.world().lvs[&names::volume(id)].active);
    lab.fake.world().lvs.values_mut().for_each(|lv| lv.active = true);
    assert_eq!(format!("{:?}", lab.fake.world().lvs), before);
}

#[tokio::test]
async fn ctl_8_2_a_pool_above_its_watermarks_makes_nothing_new_and_leaves_alone_what_is_there() {
    let lab = Lab::new().await;
    let image = lab.image().await;
    let there = lab.root(vm(1), &image);
    lab.storage.ensure_volume(&lab.cx, &there).await.unwrap();
    for (data, metadata, refused) in
        [("79.99", "69.99", false), ("80.00", "10.00", true), ("100.00", "10.00", true), ("10.00", "70.00", true)]
    {
        {
            let mut world = lab.fake.world();
            (world.data, world.metadata) = (data, metadata);
        }
        let storage = lab.again().await;
        let new = [lab.root(vm(2), &image), empty(VolumeId::data(vm(2)), ByteSize::mib(1)), {
            let now = storage.volume(&lab.cx, there.id).await.unwrap().unwrap().size;
            VolumeConfig { size: ByteSize::bytes(now.get() * 2), ..there.clone() }
        }];
        for config in &new {
            let made = storage.ensure_volume(&lab.cx, config).await;
            match made {
                Ok(_) => assert!(!refused, "{data} {metadata} {config:?}"),
                Err(error) => {
                    assert!(refused, "{data} {metadata}: {}", error.chain());
                    let told = (error.kind(), error.reason(), error.effect());
                    assert_eq!(told, (ErrorKind::Exhausted, Some("pool_full"), Effect::None));
                    assert!(error.message().contains("lvextend"), "{error}");
                }
            }
        }
        let now = storage.volume(&lab.cx, there.id).await.unwrap().unwrap();
        storage.ensure_volume(&lab.cx, &VolumeConfig { size: now.size, ..there.clone() }).await.expect("it is there");
        let usage = storage.usage(&lab.cx).await.unwrap();
        assert!(usage.used <= usage.total && usage.metadata.is_some_and(|fill| fill.used <= fill.total), "{usage:?}");
        for config in &new[..2] {
            storage.ensure_volume_absent(&lab.cx, config.id).await.expect("room can be made");
        }
    }
}

#[tokio::test]
async fn fk_9_a_pool_that_fills_between_the_look_and_the_make_is_told_as_full() {
    let lab = Lab::new().await;
    lab.storage.volumes(&lab.cx).await.unwrap();
    {
        let mut world = lab.fake.world();
        (world.data, world.fault) = ("95.00", Some((0, Fault::Before)));
    }
    let error = lab.storage.ensure_volume(&lab.cx, &empty(VolumeId::data(vm(1)), ByteSize::mib(1))).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("pool_full")), "{}", error.chain());
}

#[tokio::test]
async fn bad_28_a_pool_that_is_missing_or_does_not_zero_is_refused_with_the_line_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(FakeLvm::new(&dir.path().join("lvm")));
    let refused = async |what: &str| {
        let error = open(&dir.path().join("s"), &fake).await.expect_err(what);
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Unsupported, Some("host_misconfigured")), "{what}");
        error.message().to_owned()
    };
    fake.world().zero = false;
    assert!(refused("no zeroing").await.ends_with("; lvchange --zero y vg/pool"));
    fake.world().zero = true;
    fake.world().lvs.get_mut("pool").unwrap().kind = "linear";
    assert!(refused("no pool").await.ends_with("there is no thin pool vg/pool; minions init"));
    fake.world().lvs.clear();
    refused("an empty group").await;
    for name in ["-x", "", "..", "a/b", "a b", "snapshot1", "pool_tdata"] {
        let config = LvmConfig { vg: name.to_owned(), ..LvmConfig::new(dir.path()) };
        let error = LvmStorage::open_with(config, fake.clone(), dir.path(), Env::system()).await.expect_err(name);
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("storage.vg")));
    }
}

#[tokio::test]
async fn bad_27_lvm2_that_is_absent_fails_hangs_floods_or_talks_garbage_is_a_typed_error() {
    let cases = [
        (None, ErrorKind::Unavailable),
        (Some("echo '  Volume group vg not found' >&2; exit 5"), ErrorKind::Unavailable),
        (Some("sleep 600"), ErrorKind::DeadlineExceeded),
        (Some("head -c 104857600 /dev/zero"), ErrorKind::Unavailable),
        (Some("echo '  Logische Datentr\u{e4}ger: keine'"), ErrorKind::Unavailable),
        (Some(":"), ErrorKind::Unavailable),
        (Some("echo '{\"report\":[{\"lv\":[]},{\"lv\":[]}]}'"), ErrorKind::Unavailable),
        (Some("kill -9 $$"), ErrorKind::Unavailable),
    ];
    for (script, kind) in cases {
        let dir = tempfile::tempdir().unwrap();
        if let Some(script) = script {
            // Written by another process: one of ours that is just being started could still have the file open.
            let write = crate::host::command::Tool::new(Path::new("/bin/sh")).args(["-c", "cat > lvs && chmod +x lvs"]);
            write.dir(dir.path()).run_with(format!("#!/bin/sh\n{script}\n").as_bytes()).await.unwrap();
        }
        let runner = Programs { dir: dir.path().to_owned(), limit: Duration::from_secs(2) };
        let config = LvmConfig { vg: "vg".to_owned(), ..LvmConfig::new(&dir.path().join("s")) };
        let opened = LvmStorage::open_with(config, Arc::new(runner), Path::new("/dev"), Env::system()).await;
        let error = opened.expect_err(script.unwrap_or("absent"));
        assert_eq!(error.kind(), kind, "{script:?}: {}", error.chain());
        assert!(error.chain().len() < 1024, "{}", error.chain());
        if script != Some("sleep 600") {
            let config = LvmConfig { programs: dir.path().to_owned(), ..LvmConfig::new(dir.path()) };
            let findings = preflight::preflight(&config).await;
            assert!(findings.iter().any(|finding| finding.fix.is_some()), "the doctor has nothing to say: {script:?}");
        }
    }
}

#[tokio::test]
async fn fk_13_after_a_boot_volumes_come_back_and_images_and_what_was_set_aside_stay_asleep() {
    let lab = Lab::new().await;
    let image = lab.image().await;
    let (root, data) = (lab.root(vm(1), &image), empty(VolumeId::data(vm(1)), ByteSize::mib(4)));
    let aside = empty(VolumeId::data(vm(2)), ByteSize::mib(4));
    for config in [&root, &data, &aside] {
        lab.storage.ensure_volume(&lab.cx, config).await.unwrap();
    }
    lab.storage.quarantine(&lab.cx, aside.id).await.unwrap();
    lab.fake.reboot();
    let statuses = lab.storage.volumes_of(&lab.cx, vm(1)).await.unwrap();
    assert!(statuses.len() == 2 && statuses.iter().all(|status| status.whole && !status.active), "{statuses:?}");
    let storage = lab.again().await;
    let statuses = storage.volumes_of(&lab.cx, vm(1)).await.unwrap();
    assert!(statuses.iter().all(|status| status.active && status.path.exists()), "{statuses:?}");
    let mut awake: Vec<String> =
        lab.fake.world().lvs.iter().filter(|(_, lv)| lv.active).map(|(n, _)| n.clone()).collect();
    awake.sort_unstable();
    let mut want = vec!["pool".to_owned(), names::volume(root.id), names::volume(data.id)];
    want.sort_unstable();
    assert_eq!(awake, want);
    // One that an operator deactivated comes back when it is asked for.
    lab.fake.reboot();
    assert!(!storage.volume(&lab.cx, root.id).await.unwrap().unwrap().active);
    storage.ensure_volume(&lab.cx, &root).await.unwrap();
    assert!(lab.fake.world().lvs[&names::volume(root.id)].active);
    let lvs = lab.fake.world().lvs.clone();
    let made = &lvs[&image.id.to_string()];
    assert!(made.read_only && made.skip && !made.active && made.tags == ["minions"], "{made:?}");
    assert!(lvs.values().filter(|lv| lv.kind == "thin").all(|lv| lv.skip), "the host's boot wakes none");
}

/// A life of volumes and images: each step and whether it is done.
async fn life(lab: &Lab, storage: &LvmStorage, image: &ImageBundle) -> Result<()> {
    let cx = &lab.cx;
    let (root, data) = (lab.root(vm(1), image), empty(VolumeId::data(vm(1)), ByteSize::mib(8)));
    storage.ensure_image(cx, image).await?;
    storage.ensure_volume(cx, &root).await?;
    storage.ensure_volume(cx, &data).await?;
    storage.ensure_volume(cx, &VolumeConfig { size: ByteSize::mib(128), ..root.clone() }).await?;
    storage.ensure_volume(cx, &VolumeConfig { size: ByteSize::mib(16), ..data }).await?;
    let stray = empty(VolumeId::data(vm(3)), ByteSize::mib(8));
    storage.ensure_volume(cx, &stray).await?;
    storage.quarantine(cx, stray.id).await?;
    storage.ensure_volume_absent(cx, root.id).await?;
    Ok(())
}

#[tokio::test]
async fn fk_1_a_call_that_fails_anywhere_is_finished_by_its_repeat_and_by_the_next_start() {
    let mut calls = 0;
    for fault in [Fault::Before, Fault::After] {
        for at in 0.. {
            let lab = Lab::new().await;
            let image = bundle(lab.dir.path());
            lab.fake.world().fault = Some((at, fault));
            let first = life(&lab, &lab.storage, &image).await;
            let reached = lab.fake.world().fault.is_none();
            if !reached {
                first.unwrap();
                break;
            }
            calls += 1;
            // The same step repeated, or the next daemon's, whole lives from the beginning: what is done stays done.
            for storage in [lab.storage.clone(), lab.again().await] {
                let cx = &lab.cx;
                if first.is_err() {
                    let (root, data) = (lab.root(vm(1), &image), empty(VolumeId::data(vm(1)), ByteSize::mib(8)));
                    storage.ensure_image(cx, &image).await.unwrap();
                    let root = VolumeConfig { size: ByteSize::mib(128), ..root };
                    storage.ensure_volume(cx, &root).await.unwrap();
                    storage.ensure_volume(cx, &VolumeConfig { size: ByteSize::mib(16), ..data }).await.unwrap();
                    let stray = empty(VolumeId::data(vm(3)), ByteSize::mib(8));
                    if storage.quarantined(cx).await.unwrap().is_empty() {
                        storage.ensure_volume(cx, &stray).await.unwrap();
                        storage.quarantine(cx, stray.id).await.unwrap();
                    }
                    // It may have been between two steps of being set aside.
                    storage.quarantine(cx, stray.id).await.unwrap();
                    storage.ensure_volume_absent(cx, root.id).await.unwrap();
                }
                let told = format!("{fault:?} at {at}: {:?}", lab.fake.world().lvs.keys());
                assert_eq!(storage.volumes(cx).await.unwrap(), [VolumeId::data(vm(1))], "{told}");
                assert_eq!(storage.quarantined(cx).await.unwrap(), [VolumeId::data(vm(3))], "{told}");
                let images = storage.images(cx).await.unwrap();
                assert_eq!(images.iter().map(|image| image.id).collect::<Vec<_>>(), [image.id], "{told}");
                assert_eq!(lab.fake.world().lvs.len(), 4, "{told}");
                assert_eq!(files::names(&lab.dir.path().join("s/tmp")).unwrap(), Vec::<String>::new(), "{told}");
            }
        }
    }
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn an_image_of_which_a_half_is_lost_is_not_there_and_can_come_again() {
    let lab = Lab::new().await;
    let image = lab.image().await;
    let name = image.id.to_string();
    lab.fake.world().lvs.remove(&name).unwrap();
    assert_eq!(lab.storage.images(&lab.cx).await.unwrap(), []);
    let error = lab.storage.ensure_volume(&lab.cx, &lab.root(vm(1), &image)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    lab.storage.ensure_image(&lab.cx, &image).await.unwrap();
    lab.storage.ensure_volume(&lab.cx, &lab.root(vm(1), &image)).await.unwrap();
    std::fs::remove_dir_all(lab.dir.path().join("s/images").join(&name)).unwrap();
    assert_eq!(lab.storage.images(&lab.cx).await.unwrap(), []);
    lab.storage.ensure_image(&lab.cx, &image).await.unwrap();
    assert_eq!(lab.storage.images(&lab.cx).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_crash_left_of_an_image_is_cleared_at_the_next_start_unless_somebody_works_on_it() {
    let lab = Lab::new().await;
    let (left, busy) = (ImageId::from_digest([1; 32]).to_string(), ImageId::from_digest([2; 32]).to_string());
    for name in [&left, &busy] {
        lab.fake.add(name, "thin", EXTENT, &["minions", "minions.making"]);
    }
    let stage = super::super::bundle::stage::Stage::begin(&lab.dir.path().join("s/tmp"), &busy).unwrap();
    lab.again().await;
    let names: Vec<String> = lab.fake.world().lvs.keys().cloned().collect();
    assert_eq!(names, [busy, "pool".to_owned()]);
    drop(stage);
    lab.again().await;
    assert_eq!(lab.fake.world().lvs.len(), 1);
}

#[tokio::test]
async fn inv_3_a_volume_that_a_process_holds_is_neither_removed_nor_set_aside_but_grows() {
    let lab = Lab::new().await;
    let config = empty(VolumeId::data(vm(1)), ByteSize::mib(4));
    lab.storage.ensure_volume(&lab.cx, &config).await.unwrap();
    let status = lab.storage.volume(&lab.cx, config.id).await.unwrap().unwrap();
    let held = std::fs::OpenOptions::new().write(true).open(&status.path).unwrap();
    for error in [
        lab.storage.ensure_volume_absent(&lab.cx, config.id).await.unwrap_err(),
        lab.storage.quarantine(&lab.cx, config.id).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Conflict, Effect::None), "{}", error.chain());
    }
    lab.storage.ensure_volume(&lab.cx, &VolumeConfig { size: ByteSize::mib(32), ..config }).await.unwrap();
    drop(held);
    lab.storage.ensure_volume_absent(&lab.cx, config.id).await.unwrap();
    assert_eq!(lab.storage.volumes(&lab.cx).await.unwrap(), []);
}

#[tokio::test]
async fn two_set_aside_under_one_name_are_both_kept() {
    let lab = Lab::new().await;
    let config = empty(VolumeId::root(vm(1)).at(3), ByteSize::mib(4));
    for _ in 0..2 {
        lab.storage.ensure_volume(&lab.cx, &config).await.unwrap();
        lab.storage.quarantine(&lab.cx, config.id).await.unwrap();
    }
    assert_eq!(lab.storage.quarantined(&lab.cx).await.unwrap(), [config.id]);
    assert_eq!(lab.fake.world().lvs.len(), 3);
}
