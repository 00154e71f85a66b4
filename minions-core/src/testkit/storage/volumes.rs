//! Cases about volumes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scene::{Stage, StorageScene};
use crate::error::ErrorKind;
use crate::storage::{StorageExt, VolumeConfig, VolumeSource};
use crate::testkit::drops::polled;
use crate::testkit::{cx, skip};
use crate::types::{ByteSize, ImageId};

pub async fn nothing_is_known_of_a_volume_that_never_was(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let (storage, id) = (&stage.scene.storage, stage.id());
    assert_eq!(storage.volume(&cx(), id).await.unwrap(), None);
    assert_eq!(storage.volumes(&cx()).await.unwrap(), []);
    assert_eq!(storage.quarantined(&cx()).await.unwrap(), []);
    storage.ensure_volume_absent(&cx(), id).await.unwrap();
    let error = storage.quarantine(&cx(), id).await.expect_err("there is nothing to set aside");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
}

pub async fn a_volume_that_was_asked_for_is_listed_and_whole(
    make: &impl AsyncFn(PathBuf) -> StorageScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let config = stage.volume().await;
    let empty = VolumeConfig { id: stage.id(), size: ByteSize::mib(1), source: VolumeSource::Empty };
    stage.scene.storage.ensure_volume(&cx(), &empty).await.unwrap();
    let mut listed = stage.scene.storage.volumes(&cx()).await.unwrap();
    listed.sort_unstable();
    let mut wanted = vec![config.id, empty.id];
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
    for config in [config, empty] {
        let status = stage.status(config.id).await;
        assert!(status.whole && status.size >= config.size, "{status:?}");
    }
    let usage = stage.scene.storage.usage(&cx()).await.unwrap();
    assert!(usage.used <= usage.total, "{usage:?}");
}

pub async fn asking_again_leaves_the_bytes_alone(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let config = stage.volume().await;
    let fresh = stage.fingerprint(&config).await;
    stage.scribble(config.id).await;
    let written = stage.fingerprint(&config).await;
    assert_ne!(written, fresh, "the probe sees what was written");
    for _ in 0..2 {
        stage.scene.storage.ensure_volume(&cx(), &config).await.unwrap();
        assert_eq!(stage.fingerprint(&config).await, written);
    }
}

pub async fn growing_keeps_the_bytes(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let config = stage.volume().await;
    stage.scribble(config.id).await;
    let written = stage.fingerprint(&config).await;
    let grown = VolumeConfig { size: ByteSize::bytes(config.size.get() * 2), ..config.clone() };
    stage.scene.storage.ensure_volume(&cx(), &grown).await.unwrap();
    assert!(stage.status(config.id).await.size >= grown.size);
    assert_eq!(stage.fingerprint(&config).await, written);
}

pub async fn shrinking_is_refused_and_changes_nothing(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let config = stage.volume().await;
    let (before, bytes) = (stage.status(config.id).await, stage.fingerprint(&config).await);
    let smaller = VolumeConfig { size: ByteSize::bytes(config.size.get() / 2), ..config.clone() };
    let error = stage.scene.storage.ensure_volume(&cx(), &smaller).await.expect_err("it never shrinks");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", error.chain());
    assert_eq!(stage.status(config.id).await, before);
    assert_eq!(stage.fingerprint(&config).await, bytes);
}

pub async fn a_volume_without_its_image_is_not_found(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let source = VolumeSource::Image(ImageId::from_digest([0xee; 32]));
    let config = VolumeConfig { id: stage.id(), size: ByteSize::gib(1), source };
    let error = stage.scene.storage.ensure_volume(&cx(), &config).await.expect_err("there is no such image");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    assert_eq!(stage.scene.storage.volumes(&cx()).await.unwrap(), []);
}

pub async fn a_new_volume_sees_nothing_of_an_old_one_of_its_name(
    make: &impl AsyncFn(PathBuf) -> StorageScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let storage = &stage.scene.storage;
    let config = stage.volume().await;
    let fresh = stage.fingerprint(&config).await;
    stage.scribble(config.id).await;
    storage.ensure_volume_absent(&cx(), config.id).await.unwrap();
    assert_eq!(storage.volume(&cx(), config.id).await.unwrap(), None);
    storage.ensure_volume(&cx(), &config).await.unwrap();
    assert_eq!(stage.fingerprint(&config).await, fresh);
}

pub async fn volumes_of_one_image_share_no_writes(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let (one, other) = (stage.volume().await, stage.volume().await);
    let fresh = stage.fingerprint(&other).await;
    stage.scribble(one.id).await;
    assert_eq!(stage.fingerprint(&other).await, fresh);
    let third = stage.volume().await;
    assert_eq!(stage.fingerprint(&third).await, fresh, "the image is as it was");
}

pub async fn a_dropped_call_is_finished_by_its_repeat_or_cleared(
    make: &impl AsyncFn(PathBuf) -> StorageScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let storage = &stage.scene.storage;
    let whole = stage.volume().await;
    let fresh = stage.fingerprint(&whole).await;
    for polls in 0..8 {
        let config = VolumeConfig { id: stage.id(), ..whole.clone() };
        polled(storage.ensure_volume(&cx(), &config), polls).await;
        if polls % 2 == 0 {
            storage.ensure_volume_absent(&cx(), config.id).await.unwrap();
            assert_eq!(storage.volume(&cx(), config.id).await.unwrap(), None, "after {polls} polls");
        }
        storage.ensure_volume(&cx(), &config).await.unwrap();
        assert_eq!(stage.fingerprint(&config).await, fresh, "after {polls} polls");
        // What the dropped call may still have on its way must not undo it.
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(stage.status(config.id).await.whole, "after {polls} polls");
    }
}

pub async fn the_same_call_at_once_makes_one_volume(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    stage.image().await;
    let source = VolumeSource::Image(stage.scene.bundle.id);
    let config = VolumeConfig { id: stage.id(), size: ByteSize::gib(1), source };
    let storage = &stage.scene.storage;
    let cx = cx();
    let ask = || storage.ensure_volume(&cx, &config);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for result in [one, two, three] {
        result.unwrap();
    }
    assert_eq!(storage.volumes(&cx).await.unwrap(), [config.id]);
    assert!(stage.status(config.id).await.whole);
}

pub async fn a_quarantined_volume_is_kept_and_no_longer_listed(
    make: &impl AsyncFn(PathBuf) -> StorageScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let storage = &stage.scene.storage;
    let config = stage.volume().await;
    let fresh = stage.fingerprint(&config).await;
    stage.scribble(config.id).await;
    for _ in 0..2 {
        storage.quarantine(&cx(), config.id).await.unwrap();
        assert_eq!(storage.volumes(&cx()).await.unwrap(), []);
        assert_eq!(storage.volume(&cx(), config.id).await.unwrap(), None);
        assert_eq!(storage.quarantined(&cx()).await.unwrap(), [config.id]);
    }
    storage.ensure_volume(&cx(), &config).await.unwrap();
    assert_eq!(stage.fingerprint(&config).await, fresh, "a new one of the name begins anew");
    assert_eq!(storage.quarantined(&cx()).await.unwrap(), [config.id]);
}

pub async fn a_volume_in_use_stays(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let storage = &stage.scene.storage;
    let config = stage.volume().await;
    let bytes = stage.fingerprint(&config).await;
    let Some(held) = stage.scene.probe.hold(config.id, &stage.status(config.id).await).await else {
        return skip("a_volume_in_use_stays", "the scene cannot hold a volume open");
    };
    let error = storage.ensure_volume_absent(&cx(), config.id).await.expect_err("it is open");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.chain());
    assert_eq!(stage.fingerprint(&config).await, bytes);
    drop(held);
    // A process that is born while the disk is open has it open, too, until it runs its own program.
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(error) = storage.ensure_volume_absent(&cx(), config.id).await {
        let born = error.kind() == ErrorKind::Conflict && tokio::time::Instant::now() < until;
        assert!(born, "nobody has it open any more: {}", error.chain());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub async fn absence_twice_is_absence_once(make: &impl AsyncFn(PathBuf) -> StorageScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let storage = &stage.scene.storage;
    let (gone, kept) = (stage.volume().await, stage.volume().await);
    for _ in 0..2 {
        storage.ensure_volume_absent(&cx(), gone.id).await.unwrap();
        assert_eq!(storage.volumes(&cx()).await.unwrap(), [kept.id]);
    }
}
