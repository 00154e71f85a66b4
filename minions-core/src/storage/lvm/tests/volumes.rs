//! Who is never touched.

use super::*;

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
