//! Who reads a VM and then the events goes on knowing how it is, also across a restart of the service. Time is paused.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::time::Duration;

use minions_core::api::v1;
use minions_core::engine::EngineConfig;
use minions_core::env::CallCx;
use minions_core::layers::{Latency, Layers};
use minions_core::memory::InMemoryHost;
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig};
use minions_core::testkit::World;
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
    let (world, ada) = (World::seeded(3), Caller::tenant("ada"));
    let (ports, fleet, env) = (world.ports(), world.fleet.clone(), world.env.clone());
    ports.storage.ensure_image(&CallCx::new("import", LONG), &InMemoryHost::demo_image()).await.unwrap();
    let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), EngineConfig::default()).await.unwrap();
    let config = ServiceConfig::default;
    let plane = LocalControlPlane::start(fleet.clone(), node.clone(), env.clone(), config());
    for name in ["read", "unread"] {
        let name = name.parse().unwrap();
        let new = v1::CreateVm::named(name);
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
