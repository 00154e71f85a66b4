//! Hosts that are not ready, lvm2 that fails, and what a crash or a boot leaves.

use super::*;

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
    let stage = crate::storage::bundle::stage::Stage::begin(&lab.dir.path().join("s/tmp"), &busy).unwrap();
    lab.again().await;
    let names: Vec<String> = lab.fake.world().lvs.keys().cloned().collect();
    assert_eq!(names, [busy, "pool".to_owned()]);
    drop(stage);
    lab.again().await;
    assert_eq!(lab.fake.world().lvs.len(), 1);
}

#[tokio::test]
async fn ctl_10_1_a_kernel_that_is_not_what_was_taken_in_is_told_and_comes_back_with_the_image() {
    let lab = Lab::new().await;
    let image = lab.image().await;
    let damage = async |storage: &LvmStorage| storage.images(&lab.cx).await.unwrap().remove(0).damage;
    assert_eq!(damage(&lab.storage).await, None);
    lab.storage.ensure_volume(&lab.cx, &lab.root(vm(1), &image)).await.unwrap();
    let path = lab.dir.path().join("s/images").join(image.id.to_string()).join("kernel");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"K").unwrap();
    for storage in [lab.storage.clone(), lab.again().await] {
        let damage = damage(&storage).await.expect("it is another one");
        assert!(damage.contains(&path.display().to_string()) && damage.contains("SHA-256"), "{damage}");
    }
    lab.storage.ensure_image(&lab.cx, &image).await.unwrap();
    assert_eq!(damage(&lab.storage).await, None);
    assert_eq!(lab.storage.volumes(&lab.cx).await.unwrap(), [VolumeId::root(vm(1))], "roots stay");
}
