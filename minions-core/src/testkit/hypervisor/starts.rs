//! Cases about starts.

use std::path::{Path, PathBuf};

use super::scene::{HypervisorScene, Stage};
use crate::error::ErrorKind;
use crate::hypervisor::VmmPhase;
use crate::testkit::drops::polled;
use crate::testkit::{cx, skip};
use crate::types::{ByteSize, NicBackend, StopHow, VmSize};

pub async fn nothing_is_known_of_a_monitor_that_never_was(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let (hypervisor, id) = (&stage.scene.hypervisor, stage.env.vm_id());
    let before = hypervisor.capabilities();
    assert_eq!(stage.observe(id).await, None);
    assert_eq!(stage.list().await, []);
    hypervisor.wait_exit(&cx(), id).await.unwrap();
    hypervisor.ensure_absent(&cx(), id, &StopHow::DEFAULT).await.unwrap();
    assert_eq!(stage.list().await, []);
    assert_eq!(hypervisor.capabilities(), before);
}

pub async fn a_process_comes_before_the_guest_where_it_can(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let config = stage.config(1).await;
    for _ in 0..2 {
        stage.scene.hypervisor.ensure_process(&cx(), &config).await.unwrap();
    }
    let early = stage.scene.hypervisor.capabilities().early_process;
    if early {
        assert_eq!(stage.phase(config.id).await, Some(VmmPhase::Prepared));
        assert_eq!(stage.list().await, [config.id]);
    } else {
        skip("a_process_comes_before_the_guest_where_it_can", "the hypervisor has no early process");
    }
    stage.scene.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    assert_eq!(stage.phase(config.id).await, Some(VmmPhase::Running));
    // A running guest has a process.
    stage.scene.hypervisor.ensure_process(&cx(), &config).await.unwrap();
    assert_eq!(stage.phase(config.id).await, Some(VmmPhase::Running));
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}

pub async fn a_start_asked_for_twice_is_one_start(make: &impl AsyncFn(PathBuf) -> HypervisorScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let config = stage.running().await;
    let once = stage.observe(config.id).await;
    assert_eq!(once.as_ref().map(|status| (status.epoch, status.phase)), Some((1, VmmPhase::Running)));
    if let Some(size) = once.as_ref().and_then(|status| status.size) {
        assert_eq!(size, VmSize { vcpus: config.vcpus, memory: config.memory }, "what it can tell is so");
    }
    stage.scene.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    assert_eq!(stage.observe(config.id).await, once, "it is the same monitor");
    assert_eq!(stage.list().await, [config.id]);
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}

pub async fn a_missing_disk_is_not_found_and_boots_nothing(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let mut config = stage.config(1).await;
    let Some(disk) = config.disks.first_mut() else {
        return skip("a_missing_disk_is_not_found_and_boots_nothing", "the scene has no disk");
    };
    disk.path = disk.path.with_extension("not-there");
    let error = stage.scene.hypervisor.ensure_running(&cx(), &config).await.expect_err("a disk is missing");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    assert_ne!(stage.phase(config.id).await, Some(VmmPhase::Running));
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(stage.list().await, []);
}

pub async fn a_missing_port_is_not_found_and_boots_nothing(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    const NAME: &str = "a_missing_port_is_not_found_and_boots_nothing";
    let stage = Stage::new(make, folder).await;
    let (mut config, other) = (stage.config(1).await, stage.config(1).await);
    let (Some(nic), Some(other)) = (config.nic.as_mut(), other.nic) else {
        return skip(NAME, "the scene has no network port");
    };
    if nic.backend == NicBackend::User {
        return skip(NAME, "a monitor's own NAT cannot be missing");
    }
    *nic = other;
    if let NicBackend::Tap(_) = nic.backend {
        return skip(NAME, "a tap that is there but another VM's is the jail's matter");
    }
    let error = stage.scene.hypervisor.ensure_running(&cx(), &config).await.expect_err("the port is missing");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    assert_ne!(stage.phase(config.id).await, Some(VmmPhase::Running));
}

pub async fn another_epoch_is_a_conflict_and_touches_nothing(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let hypervisor = &stage.scene.hypervisor;
    let config = stage.config(2).await;
    hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let before = stage.observe(config.id).await;
    for epoch in [1, 3] {
        let mut other = config.clone();
        other.epoch = epoch;
        let error = hypervisor.ensure_running(&cx(), &other).await.expect_err("another epoch is alive");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.chain());
        assert_eq!(stage.observe(config.id).await, before);
    }
    hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}

pub async fn the_same_start_at_once_is_one_monitor(make: &impl AsyncFn(PathBuf) -> HypervisorScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let hypervisor = &stage.scene.hypervisor;
    let (config, cx) = (stage.config(1).await, cx());
    let ask = || hypervisor.ensure_running(&cx, &config);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for result in [one, two, three] {
        result.unwrap();
    }
    assert_eq!(stage.list().await, [config.id]);
    assert_eq!(stage.phase(config.id).await, Some(VmmPhase::Running));
    hypervisor.ensure_absent(&cx, config.id, &StopHow::Force).await.unwrap();
    assert_eq!(stage.observe(config.id).await, None, "there was only one");
}

pub async fn a_dropped_start_leaves_nothing_that_the_list_hides(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let hypervisor = &stage.scene.hypervisor;
    for polls in 1..6 {
        let config = stage.config(1).await;
        polled(hypervisor.ensure_running(&cx(), &config), polls).await;
        let listed = stage.list().await.contains(&config.id);
        if stage.observe(config.id).await.is_some() {
            assert!(listed, "after {polls} polls");
        }
        hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
        assert_eq!((stage.observe(config.id).await, stage.list().await), (None, vec![]), "after {polls} polls");
    }
    let config = stage.running().await;
    hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}

pub async fn the_least_memory_that_it_tells_of_is_enough_and_less_is_refused(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let (hypervisor, mut config) = (&stage.scene.hypervisor, stage.config(1).await);
    let least = hypervisor.capabilities().min_memory;
    config.memory = ByteSize::bytes(least.get() - 512);
    let error = hypervisor.ensure_running(&cx(), &config).await.expect_err("too little memory");
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("memory")), "{}", error.chain());
    assert_eq!(stage.list().await, []);
    config.memory = least;
    hypervisor.ensure_running(&cx(), &config).await.unwrap();
    assert_eq!(stage.phase(config.id).await, Some(VmmPhase::Running));
    hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}
