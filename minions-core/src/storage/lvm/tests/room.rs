//! On a stand-in for lvm2: nothing new takes the room that who is there already needs.

use super::*;

/// A storage, its stand-in, and an image of 4 MiB for a pool of 1 GiB.
async fn lab(dir: &Path) -> (LvmStorage, Arc<FakeLvm>, ImageBundle, CallCx) {
    let fake = Arc::new(FakeLvm::new(&dir.join("lvm")));
    let usual = LvmConfig::new(&dir.join("s"));
    let config = LvmConfig { vg: "vg".to_owned(), look_every: ByteSize::mib(1), ..usual };
    let storage = LvmStorage::open_with(config, fake.clone(), &fake.devices(), Env::system()).await.unwrap();
    (storage, fake, bundle(dir), CallCx::new("test", Duration::from_secs(60)))
}

#[tokio::test]
async fn ctl_8_2_an_image_that_would_lift_the_pool_above_its_watermark_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, fake, image, cx) = lab(dir.path()).await;
    // 1 % of the pool are 10 MiB.
    fake.world().data = "79.70";
    let error = storage.ensure_image(&cx, &image).await.expect_err("3 MiB are left, and it has 4");
    let told = (error.kind(), error.reason(), error.effect());
    assert_eq!(told, (ErrorKind::Exhausted, Some("pool_full"), Effect::None), "{}", error.chain());
    assert!(error.message().contains("lvextend"), "{error}");
    assert!(fake.take_log().iter().all(|command| command.program != "lvcreate"), "it was made");
    fake.world().data = "79.50";
    storage.ensure_image(&cx, &image).await.expect("5 MiB are left");
    storage.ensure_image_absent(&cx, image.id).await.unwrap();
    // Holes take no room.
    let root = std::fs::read(&image.root).unwrap();
    let hollow = std::fs::File::create(&image.root).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hollow, &root[..4096], 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hollow, &root[1 << 20..(1 << 20) + 8192], 1 << 20).unwrap();
    hollow.set_len(root.len() as u64).unwrap();
    fake.world().data = "79.70";
    storage.ensure_image(&cx, &image).await.expect("of its 4 MiB it has but some KiB");
}

#[tokio::test]
async fn ctl_8_2_an_image_ends_where_others_fill_the_pool_while_it_is_copied_and_nothing_of_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, fake, image, cx) = lab(dir.path()).await;
    // At first there is room; it is looked at again after each MiB.
    fake.world().next_data.extend(["10.00", "40.00", "79.00", "80.00"]);
    let error = storage.ensure_image(&cx, &image).await.expect_err("the pool is full");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("pool_full")), "{}", error.chain());
    assert_eq!(fake.world().lvs.keys().collect::<Vec<_>>(), ["pool"]);
    assert_eq!(std::fs::read_dir(dir.path().join("s/tmp")).unwrap().count(), 0);
    fake.world().data = "10.00";
    storage.ensure_image(&cx, &image).await.expect("there is room again");
}

#[tokio::test]
async fn ctl_8_2_a_pool_that_does_not_tell_how_full_it_is_takes_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, fake, image, cx) = lab(dir.path()).await;
    for (data, metadata) in [("", "10.00"), ("10.00", "")] {
        {
            let mut world = fake.world();
            (world.data, world.metadata) = (data, metadata);
        }
        let error = storage.ensure_image(&cx, &image).await.expect_err("nobody knows");
        let told = (error.kind(), error.reason());
        assert_eq!(told, (ErrorKind::Unsupported, Some("host_misconfigured")), "{}", error.chain());
    }
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
