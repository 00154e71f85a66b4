//! What has happened is kept for as long as anyone may ask for it, and not for ever. Time is paused: a week passes at once.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use minions_core::ErrorKind;
use minions_core::api::v1;
use minions_core::engine::EngineConfig;
use minions_core::env::CallCx;
use minions_core::memory::InMemoryHost;
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, IdempotencyKey, LocalControlPlane, ServiceConfig, VmAction};
use minions_core::testkit::World;
use minions_core::types::{EventSeq, HostId, VmState};

const HOUR: Duration = Duration::from_secs(3_600);

fn ada() -> Caller {
    Caller::tenant("ada")
}

async fn start() -> Arc<LocalControlPlane> {
    let world = World::seeded(3);
    let ports = world.ports();
    ports.storage.ensure_image(&CallCx::new("import", HOUR), &InMemoryHost::demo_image()).await.unwrap();
    let node = LocalNode::start(HostId::from_bits(1), ports, world.env.clone(), EngineConfig::default()).await.unwrap();
    LocalControlPlane::start(world.fleet, node, world.env, ServiceConfig::default())
}

fn new_vm(name: &str) -> v1::CreateVm {
    v1::CreateVm::named(name.parse().unwrap())
}

async fn done(plane: &LocalControlPlane, operation: &v1::Operation) {
    let ended = plane.operation(&ada(), operation.id, 20 * HOUR).await.unwrap();
    assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_key_lasts_a_day_and_operations_and_events_a_week_after_their_end() {
    let plane = start().await;
    let key: IdempotencyKey = "key".parse().unwrap();
    let create = async || plane.create(&ada(), &new_vm("web"), Some(&key)).await;
    let first = create().await.unwrap();
    done(&plane, &first).await;

    tokio::time::sleep(23 * HOUR).await;
    assert_eq!(create().await.unwrap().id, first.id, "within a day a repeat is harmless");
    tokio::time::sleep(2 * HOUR).await;
    let again = create().await.expect_err("it is another request now");
    assert_eq!(again.reason(), Some("name_taken"), "{}", again.chain());
    done(&plane, &first).await;
    plane.events(&ada(), EventSeq(1), 10, Duration::ZERO).await.expect("events are kept for a week");

    tokio::time::sleep(7 * 24 * HOUR).await;
    let error = plane.operation(&ada(), first.id, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    let error = plane.events(&ada(), EventSeq(1), 10, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.reason(), Some("events_pruned"), "{}", error.chain());
    assert_eq!(plane.vm(&ada(), &"web".parse().unwrap()).await.unwrap().state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_is_never_forgotten() {
    let plane = start().await;
    let created = plane.create(&ada(), &new_vm("web"), None).await.unwrap();
    done(&plane, &created).await;
    let destroyed =
        plane.act(&ada(), &"web".parse().unwrap(), &VmAction::Destroy(v1::DestroyVm::default()), None).await.unwrap();
    done(&plane, &destroyed).await;
    tokio::time::sleep(30 * 24 * HOUR).await;
    let tomb = plane.vm(&ada(), &created.vm.to_string().parse().unwrap()).await.unwrap();
    assert!(tomb.deleted.is_some());
}

#[tokio::test]
async fn a_reader_goes_on_behind_what_happened_to_others() {
    let (plane, bob) = (start().await, Caller::tenant("bob"));
    let mut place = EventSeq(0);
    for name in ["web", "shop"] {
        let created = plane.create(&ada(), &new_vm(name), None).await.unwrap();
        done(&plane, &created).await;
        let page = plane.events(&bob, place, 10, Duration::ZERO).await.unwrap();
        assert!(page.events.is_empty() && page.next > place, "{page:?}");
        place = page.next;
    }
}
