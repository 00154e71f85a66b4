//! The checks of the promises see what breaks them, each by a break that was made on purpose.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use minions_core::hypervisor::{Hypervisor, VmmConfig};
use minions_core::memory::{Census, GuestBehaviour};
use minions_core::network::{Network, PortConfig};
use minions_core::storage::{Storage, StorageExt, VolumeConfig, VolumeSource};
use minions_core::store::journal::{Accepted, Journal, JournalRow};
use minions_core::testkit::invariants::{self, Bystander, Violation};
use minions_core::testkit::{World, cx};
use minions_core::types::{DiskAttachment, PortPolicy, VmId, VmState, VolumeId};

/// A VM that runs as it should, and its row.
async fn vm(world: &World, number: u32) -> (VmmConfig, JournalRow) {
    let entry = world.entry(number);
    let Accepted::Row(row) = world.journal.accept(&cx(), &entry, &world.env.agent_secret()).await.unwrap() else {
        panic!("a row was due")
    };
    let (storage, network) = (world.host.storage(), world.host.network());
    let id = VolumeId::root(entry.vm);
    let volume = VolumeConfig { id, size: entry.spec.root, source: VolumeSource::Image(entry.spec.image) };
    storage.ensure_volume(&cx(), &volume).await.unwrap();
    let port = PortConfig {
        id: entry.vm,
        ip: row.lease.ip,
        mac: row.lease.mac,
        uid: row.lease.uid,
        policy: PortPolicy::default(),
    };
    network.ensure_port(&cx(), &port).await.unwrap();
    let config = VmmConfig {
        id: entry.vm,
        epoch: 1,
        vcpus: entry.spec.vcpus,
        memory: entry.spec.memory,
        boot: storage.images(&cx()).await.unwrap().remove(0).boot,
        cmdline: String::new(),
        hostname: entry.hostname.to_string(),
        disks: vec![DiskAttachment { role: id.role, path: storage.volume(&cx(), id).await.unwrap().unwrap().path }],
        nic: network.observe(&cx(), entry.vm).await.unwrap().unwrap().nic,
        cid: row.lease.cid,
        secret: row.lease.secret.clone(),
        uid: row.lease.uid,
        restore: None,
    };
    world.host.hypervisor().ensure_running(&cx(), &config).await.unwrap();
    (config, *row)
}

struct Scene {
    world: World,
    rows: Vec<JournalRow>,
    configs: Vec<VmmConfig>,
}

impl Scene {
    async fn new() -> Self {
        let world = World::seeded(1);
        let ((one, row), (two, other)) = (vm(&world, 1).await, vm(&world, 2).await);
        Self { world, rows: vec![row, other], configs: vec![one, two] }
    }

    fn id(&self) -> VmId {
        self.configs[0].id
    }

    fn census(&self) -> Census {
        self.world.host.census()
    }

    fn check(&self) -> Vec<&'static str> {
        let running: Vec<_> = self.configs.iter().map(|config| (config.id, VmState::Running)).collect();
        promises(invariants::always(&self.census(), &self.rows, &[], &running))
    }
}

fn promises(found: Vec<Violation>) -> Vec<&'static str> {
    let mut promises: Vec<_> = found.into_iter().map(|violation| violation.promise).collect();
    promises.dedup();
    promises
}

#[tokio::test(start_paused = true)]
async fn a_world_in_order_breaks_nothing() {
    assert_eq!(Scene::new().await.check(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn inv_1_sees_what_no_row_explains() {
    let mut scene = Scene::new().await;
    scene.rows.remove(1);
    assert_eq!(scene.check(), ["INV-1"]);
}

#[tokio::test(start_paused = true)]
async fn inv_2_sees_what_two_share() {
    let mut scene = Scene::new().await;
    scene.rows[1].lease.ip = scene.rows[0].lease.ip;
    assert_eq!(scene.check(), ["INV-2"]);
}

#[tokio::test(start_paused = true)]
async fn inv_3_sees_the_second_writer_even_where_the_host_stops_it() {
    let scene = Scene::new().await;
    let mut thief = scene.configs[1].clone();
    scene.world.host.kill_vmm(thief.id);
    thief.disks = scene.configs[0].disks.clone();
    assert!(scene.world.host.hypervisor().ensure_running(&cx(), &thief).await.is_err());
    let found = invariants::inv_3_a_volume_has_one_writer(&scene.census());
    assert_eq!(promises(found), ["INV-3"]);
}

#[tokio::test(start_paused = true)]
async fn inv_5_and_6_see_bytes_that_change_and_volumes_that_go() {
    let scene = Scene::new().await;
    let (before, volume) = (scene.census(), VolumeId::root(scene.id()));
    let check = |may: bool| promises(invariants::inv_5_and_6_bytes_are_kept(&before, &scene.census(), |_| may));
    assert_eq!(check(false), [""; 0]);
    scene.world.host.write_volume(volume, b"x").unwrap();
    assert_eq!(check(false), ["INV-5"]);
    scene.world.host.remove_volume(volume);
    assert_eq!((check(false), check(true)), (vec!["INV-6"], vec![]));
}

#[tokio::test(start_paused = true)]
async fn inv_6_counts_what_is_in_quarantine_as_kept() {
    let scene = Scene::new().await;
    let before = scene.census();
    scene.world.host.kill_vmm(scene.id());
    scene.world.host.storage().quarantine(&cx(), VolumeId::root(scene.id())).await.unwrap();
    assert_eq!(invariants::inv_5_and_6_bytes_are_kept(&before, &scene.census(), |_| false), []);
}

#[tokio::test(start_paused = true)]
async fn inv_9_sees_what_is_reported_too_well() {
    let scene = Scene::new().await;
    let stopped = [(scene.id(), VmState::Stopped)];
    let found = invariants::inv_9_nothing_is_reported_better_than_it_is(&scene.census(), &stopped);
    assert_eq!(promises(found), ["INV-9"]);
    scene.world.host.kill_vmm(scene.id());
    assert_eq!(scene.check(), ["INV-9"]);
}

#[tokio::test(start_paused = true)]
async fn inv_10_sees_a_port_that_is_up_without_its_rules() {
    let scene = Scene::new().await;
    let mut census = scene.census();
    census.ports[0].pinned = false;
    assert_eq!(promises(invariants::inv_10_no_port_is_up_without_its_rules(&census)), ["INV-10"]);
}

#[tokio::test(start_paused = true)]
async fn inv_11_sees_another_process_and_other_bytes() {
    let scene = Scene::new().await;
    let (id, host) = (scene.id(), &scene.world.host);
    let bystander = Bystander::of(&scene.census(), id);
    assert_eq!(bystander.inv_11_was_left_alone(&scene.census()), []);
    host.kill_vmm(id);
    host.hypervisor().ensure_running(&cx(), &scene.configs[0]).await.unwrap();
    assert_eq!(promises(bystander.inv_11_was_left_alone(&scene.census())), ["INV-11"]);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_leaves_volumes_and_nothing_that_runs() {
    let scene = Scene::new().await;
    scene.world.host.reboot();
    let census = scene.census();
    assert_eq!((census.monitors.len(), census.ports.len(), census.volumes.len()), (0, 0, 2));
    assert_eq!(census.residues.len(), 2, "what dead monitors left is told");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ends_by_itself_wakes_whoever_waits() {
    let world = World::seeded(2);
    world.host.configure(|settings| {
        settings.guests = GuestBehaviour { exits_after: Some(Duration::from_secs(5)), ..GuestBehaviour::default() };
    });
    let (config, _) = vm(&world, 1).await;
    let begun = tokio::time::Instant::now();
    Arc::new(world.host.hypervisor()).wait_exit(&cx(), config.id).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
}
