//! Cases about images.

use std::path::{Path, PathBuf};

use super::scene::{Stage, StorageScene};
use crate::error::ErrorKind;
use crate::testkit::{cx, skip};

pub async fn capabilities_do_not_change(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let before = stage.scene.storage.capabilities();
    stage.volume().await;
    assert_eq!(stage.scene.storage.capabilities(), before);
    assert!(!before.name.is_empty());
}

pub async fn an_image_taken_in_twice_is_there_once(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    stage.image().await;
    let before = stage.scene.storage.images(&cx()).await.unwrap();
    stage.image().await;
    assert_eq!(stage.scene.storage.images(&cx()).await.unwrap(), before);
    let images = before.iter().filter(|image| image.id == stage.scene.bundle.id);
    assert_eq!(images.map(|image| image.name.as_str()).collect::<Vec<_>>(), [stage.scene.bundle.name.as_str()]);
}

pub async fn an_image_that_does_not_match_its_id_is_refused(
    make: &impl AsyncFn(PathBuf) -> StorageScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let Some(tampered) = &stage.scene.tampered else {
        return skip("an_image_that_does_not_match_its_id_is_refused", "the scene has no tampered bundle");
    };
    let error = stage.scene.storage.ensure_image(&cx(), tampered).await.expect_err("it does not match");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", error.chain());
    let images = stage.scene.storage.images(&cx()).await.unwrap();
    assert!(images.iter().all(|image| image.id != tampered.id), "nothing of it is listed");
}

pub async fn an_image_in_use_stays(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let volume = stage.volume().await;
    let id = stage.scene.bundle.id;
    let error = stage.scene.storage.ensure_image_absent(&cx(), id).await.expect_err("a volume needs it");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.chain());
    stage.scene.storage.ensure_volume_absent(&cx(), volume.id).await.unwrap();
    stage.scene.storage.ensure_image_absent(&cx(), id).await.unwrap();
}

pub async fn an_image_that_nobody_needs_goes_and_can_come_again(
    make: &impl AsyncFn(PathBuf) -> StorageScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let (storage, id) = (&stage.scene.storage, stage.scene.bundle.id);
    stage.image().await;
    for _ in 0..2 {
        storage.ensure_image_absent(&cx(), id).await.unwrap();
        assert!(storage.images(&cx()).await.unwrap().iter().all(|image| image.id != id));
    }
    stage.volume().await;
}
