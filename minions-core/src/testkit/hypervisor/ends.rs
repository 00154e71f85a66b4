//! Cases about ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scene::{HypervisorScene, Stage};
use crate::env::CallCx;
use crate::error::ErrorKind;
use crate::hypervisor::VmmPhase;
use crate::testkit::{cx, skip};
use crate::types::StopHow;

pub async fn nothing_is_left_after_absence(make: &impl AsyncFn(PathBuf) -> HypervisorScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let mut config = stage.running().await;
    for how in [StopHow::Graceful { grace_ms: 100 }, StopHow::Force] {
        for _ in 0..2 {
            stage.scene.hypervisor.ensure_absent(&cx(), config.id, &how).await.unwrap();
            assert_eq!((stage.observe(config.id).await, stage.list().await), (None, vec![]), "{how:?}");
        }
        config.epoch += 1;
        stage.scene.hypervisor.ensure_running(&cx(), &config).await.unwrap();
        assert_eq!(stage.observe(config.id).await.map(|status| status.epoch), Some(config.epoch));
    }
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}

pub async fn the_end_of_a_monitor_wakes_whoever_waits_for_it(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let config = stage.running().await;
    let hypervisor = stage.scene.hypervisor.clone();
    let mut waits = tokio::spawn(async move { hypervisor.wait_exit(&cx(), config.id).await });
    let early = tokio::time::timeout(Duration::from_millis(20), &mut waits).await;
    assert!(early.is_err(), "it lives");
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    waits.await.unwrap().unwrap();
}

pub async fn a_wait_ends_with_its_deadline(make: &impl AsyncFn(PathBuf) -> HypervisorScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let config = stage.running().await;
    let soon = CallCx::new("conformance", Duration::from_millis(20));
    let error = stage.scene.hypervisor.wait_exit(&soon, config.id).await.expect_err("it lives");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{}", error.chain());
    assert_eq!(stage.phase(config.id).await, Some(VmmPhase::Running));
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}

pub async fn a_dead_monitor_is_told_and_cleared_by_the_next_start(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let hypervisor = &stage.scene.hypervisor;
    let mut config = stage.running().await;
    if !stage.scene.prepare.kill(config.id).await {
        hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
        return skip("a_dead_monitor_is_told_and_cleared_by_the_next_start", "the scene cannot kill a monitor");
    }
    hypervisor.wait_exit(&cx(), config.id).await.unwrap();
    let phase = stage.phase(config.id).await;
    assert!(matches!(phase, None | Some(VmmPhase::Exited)), "{phase:?}");
    assert_eq!(phase.is_some(), stage.list().await.contains(&config.id));
    config.epoch += 1;
    hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let status = stage.observe(config.id).await.expect("it runs");
    assert_eq!((status.epoch, status.phase), (config.epoch, VmmPhase::Running));
    hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(stage.list().await, []);
}

pub async fn monitors_do_not_touch_each_other(make: &impl AsyncFn(PathBuf) -> HypervisorScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let (one, other) = (stage.running().await, stage.running().await);
    let before = stage.observe(other.id).await;
    stage.scene.hypervisor.ensure_absent(&cx(), one.id, &StopHow::Force).await.unwrap();
    assert_eq!(stage.observe(other.id).await, before);
    assert_eq!(stage.list().await, [other.id]);
    stage.scene.hypervisor.ensure_absent(&cx(), other.id, &StopHow::Force).await.unwrap();
}
