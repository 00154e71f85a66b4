//! A store that was lost, or restored from an old backup: nothing on the host is touched for what it does not say
//! (BAD-24, INV-15).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use minions_core::ErrorKind;
use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::error::Result;
use minions_core::memory::{InMemoryFleet, InMemoryHost, InMemoryJournal};
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig, VmAction};
use minions_core::storage::Storage;
use minions_core::store::journal::DynJournal;
use minions_core::store::{GoalEntry, LeasePool};
use minions_core::types::{AddressPool, AgentSecret, ByteSize, Generation, Goal, HostId, ImageId, Vcpus, VmId, VmSpec};

async fn host() -> InMemoryHost {
    let host = InMemoryHost::new();
    let cx = CallCx::new("import", Duration::from_secs(10));
    host.storage().ensure_image(&cx, &InMemoryHost::demo_image()).await.unwrap();
    host
}

fn journal() -> DynJournal {
    let (first, last) = (Ipv4Addr::new(10, 200, 0, 2), Ipv4Addr::new(10, 200, 9, 254));
    let pool = LeasePool {
        addresses: vec![AddressPool { first, last }].into(),
        uid_first: 200_000,
        uid_count: 1_000,
        rest: LeasePool::REST,
    };
    Arc::new(InMemoryJournal::new(pool, Env::system().clock))
}

async fn node(host: &InMemoryHost, journal: DynJournal) -> Result<Arc<LocalNode>> {
    let ports = Ports {
        hypervisor: Arc::new(host.hypervisor()),
        storage: Arc::new(host.storage()),
        network: Arc::new(host.network()),
        guest: Arc::new(host.guest()),
        journal,
    };
    LocalNode::start(HostId::from_bits(1), ports, Env::system(), EngineConfig::default()).await
}

fn me() -> Caller {
    Caller::tenant("ada")
}

fn serve(node: Arc<LocalNode>, fleet: InMemoryFleet) -> Arc<LocalControlPlane> {
    LocalControlPlane::start(Arc::new(fleet), node, Env::system(), ServiceConfig::default())
}

async fn ended(plane: &LocalControlPlane, operation: v1::Operation) {
    let operation = plane.operation(&me(), operation.id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(operation.outcome, v1::OperationOutcome::Succeeded, "{operation:?}");
}

async fn create(plane: &LocalControlPlane, name: &str) {
    let memory = Some(ByteSize::mib(256));
    let name = name.parse().unwrap();
    let request = v1::CreateVm { cpus: Some(Vcpus(1)), memory, ..v1::CreateVm::named(name) };
    let operation = plane.create(&me(), &request, None).await.unwrap();
    ended(plane, operation).await;
}

/// One VM that runs, and one that is stopped.
async fn two_vms(host: &InMemoryHost, journal: DynJournal) {
    let plane = serve(node(host, journal).await.unwrap(), InMemoryFleet::new());
    create(&plane, "runs").await;
    create(&plane, "rests").await;
    let stop = VmAction::Stop(v1::StopVm::default());
    let operation = plane.act(&me(), &"rests".parse().unwrap(), &stop, None).await.unwrap();
    ended(&plane, operation).await;
    drop(plane);
    host.daemon_died();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_24_a_journal_that_was_lost_is_refused_and_nothing_is_touched() {
    let host = host().await;
    two_vms(&host, journal()).await;
    let before = host.census();
    assert_eq!((before.monitors.len(), before.volumes.len()), (1, 4));
    let error = node(&host, journal()).await.expect_err("it explains nothing of what is there");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("journal_lost")), "{}", error.chain());
    assert!(error.chain().contains("restore the journal"), "{}", error.chain());
    assert_eq!(host.census(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_24_what_an_old_journal_does_not_know_is_set_aside_or_left_and_never_removed() {
    let host = host().await;
    two_vms(&host, journal()).await;
    let before = host.census();
    // An older one: it knows a VM, but neither of these two.
    let old = journal();
    let spec = VmSpec {
        image: ImageId::from_digest([9; 32]),
        vcpus: Vcpus(1),
        memory: ByteSize::mib(256),
        root: ByteSize::gib(1),
        data: None,
        ..VmSpec::of(ImageId::from_digest([9; 32]))
    };
    let (vm, hostname, generation) = (VmId::from_bits(77), "old".parse().unwrap(), Generation(1));
    let goal = Goal::Stopped { how: minions_core::types::StopHow::Force };
    let entry = GoalEntry { vm, hostname, generation, goal, spec };
    let cx = CallCx::new("accept", Duration::from_secs(10));
    old.accept(&cx, &entry, &AgentSecret::from_bytes([1; 32])).await.unwrap();
    let node = node(&host, old).await.expect("it explains something");
    let after = host.census();
    assert_eq!(after.monitors, before.monitors, "the guest of one runs on");
    let bytes = |census: &minions_core::memory::Census| {
        census.volumes.iter().map(|volume| (volume.id, volume.size, host.fingerprint(volume.id))).collect::<Vec<_>>()
    };
    assert_eq!(after.volumes.len(), before.volumes.len(), "{:?}", bytes(&after));
    assert_eq!(host.storage().quarantined(&cx).await.unwrap().len(), 2, "the disks of the one that rests");
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_24_a_fleet_that_does_not_know_a_vm_of_its_host_serves_all_others() {
    let (host, journal) = (host().await, journal());
    two_vms(&host, journal.clone()).await;
    let before = host.census();
    // The fleet's store was lost: it knows neither.
    let plane = serve(node(&host, journal).await.unwrap(), InMemoryFleet::new());
    create(&plane, "new").await;
    let destroy = VmAction::Destroy(v1::DestroyVm::default());
    let operation = plane.act(&me(), &"new".parse().unwrap(), &destroy, None).await.unwrap();
    ended(&plane, operation).await;
    let after = host.census();
    assert_eq!((after.monitors, after.volumes), (before.monitors, before.volumes), "what is unknown is left as it is");
}
