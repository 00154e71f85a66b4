//! Who reads a VM and then the events goes on knowing how it is, also across a restart of the service. Time is paused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::layers::{Latency, Layers};
use minions_core::memory::{InMemoryFleet, InMemoryHost, InMemoryJournal};
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig};
use minions_core::storage::Storage;
use minions_core::store::LeasePool;
use minions_core::types::{EventSeq, HostId, VmState};

const LONG: Duration = Duration::from_secs(60);

fn states(page: &v1::EventPage) -> Vec<VmState> {
    let state = |event: &v1::Event| match event.body {
        v1::EventBody::State { state, .. } => Some(state),
        _ => None,
    };
    page.events.iter().filter_map(state).collect()
}

#[tokio::test(start_paused = true)]
async fn who_reads_a_vm_before_its_host_has_spoken_is_told_once_it_has_and_nobody_else_is() {
    let (host, env, ada) = (InMemoryHost::new(), Env::seeded(3), Caller::tenant("ada"));
    host.storage().ensure_image(&CallCx::new("import", LONG), &InMemoryHost::demo_image()).await.unwrap();
    let pool = LeasePool {
        ip_first: Ipv4Addr::new(10, 200, 0, 2),
        ip_last: Ipv4Addr::new(10, 200, 0, 254),
        uid_first: 200_000,
        uid_count: 100,
    };
    let ports = Ports {
        hypervisor: Arc::new(host.hypervisor()),
        storage: Arc::new(host.storage()),
        network: Arc::new(host.network()),
        guest: Arc::new(host.guest()),
        journal: Arc::new(InMemoryJournal::new(pool)),
    };
    let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), EngineConfig::default()).await.unwrap();
    let fleet = Arc::new(InMemoryFleet::new());
    let config = ServiceConfig::default;
    let plane = LocalControlPlane::start(fleet.clone(), node.clone(), env.clone(), config());
    for name in ["read", "unread"] {
        let name = name.parse().unwrap();
        let new = v1::CreateVm { name, image: None, cpus: None, memory: None, disk: None, data_disk: None };
        let operation = plane.create(&ada, &new, None).await.unwrap();
        let ended = plane.operation(&ada, operation.id, LONG).await.unwrap();
        assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
    }
    drop(plane);

    let slow = Layers::new().with(Latency::of(Duration::from_secs(5))).node(node);
    let plane = LocalControlPlane::start(fleet, slow, env, config());
    let place = plane.last_event(&ada).await.unwrap();
    let seen = plane.vm(&ada, &"read".parse().unwrap()).await.unwrap();
    assert_eq!(seen.state, VmState::Pending, "its host has said nothing yet");
    let page = plane.events(&ada, place, 100, LONG).await.unwrap();
    assert_eq!(states(&page), [VmState::Running], "whoever saw it pending is told, however long nothing changes");
    assert_eq!(page.events[0].vm, seen.id);
    let later = plane.events(&ada, page.next, 100, LONG).await.unwrap();
    assert_eq!(states(&later), [], "what nobody saw otherwise is not told again");
    assert!(place > EventSeq(0));
}
