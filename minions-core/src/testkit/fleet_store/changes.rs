//! What one transaction is.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;

use super::rows::{Scene, deleted_event, refused};
use crate::error::ErrorKind;
use crate::store::fleet::{
    EventKind, EventQuery, FleetChange, FleetStore, Guard, NewEvent, OperationRow, OperationState, VmRow, Write,
};
use crate::testkit::cx;
use crate::types::{BootMark, ByteSize, Generation, Goal, OperationVerb, StateReason, StopHow, UnixMillis, VmState};

/// Every field of a VM, an operation and an event comes back as it was.
pub async fn what_was_committed_reads_back_whole<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let mut vm = scene.vm("ann", "web");
    vm.spec.data = Some(ByteSize::bytes(1 << 50));
    vm.goal = Goal::Stopped { how: StopHow::Graceful { grace_ms: 5 } };
    vm.generation = Generation(u64::from(u32::MAX) + 2);
    vm.settled = Generation(3);
    vm.failure = Some(StateReason::new("no_capacity", "\"full\"\n\u{0}\u{1f980}"));
    let failed = OperationState::Failed { kind: ErrorKind::Exhausted, reason: StateReason::new("quota", "no more") };
    let operation = OperationRow {
        state: failed.clone(),
        marks: vec![BootMark { name: "kernel".into(), micros: 17 }],
        ended: Some(UnixMillis(9)),
        ..scene.operation(&vm, Some("a key"))
    };
    let event = |kind| NewEvent { kind, ..deleted_event(&vm) };
    let (id, verb) = (operation.id, OperationVerb::Resize);
    let events = vec![
        event(EventKind::Accepted { operation: id, verb }),
        event(EventKind::State { state: VmState::Failed, reason: vm.failure.clone() }),
        event(EventKind::State { state: VmState::Pending, reason: None }),
        event(EventKind::Ended { operation: id, verb, outcome: failed }),
        event(EventKind::Ended { operation: id, verb, outcome: OperationState::Succeeded }),
        event(EventKind::Deleted),
    ];
    let writes = vec![Write::InsertVm(vm.clone()), Write::InsertOperation(operation.clone())];
    let last = scene
        .commit(FleetChange { guards: Vec::new(), writes, events: events.clone(), ..FleetChange::default() })
        .await
        .unwrap();
    assert_eq!(scene.read(vm.id).await, Some(vm.clone()));
    assert_eq!(scene.store.operation(&cx(), id).await.unwrap(), Some(operation));
    let told = scene.store.events(&cx(), &EventQuery::all(Default::default(), 100)).await.unwrap();
    assert_eq!(told.last().map(|event| event.seq), Some(last));
    assert_eq!(told.into_iter().map(|event| event.event).collect::<Vec<_>>(), events);
    let updated = VmRow { name: "web2".parse().unwrap(), settled: vm.generation, failure: None, ..vm };
    scene.write(vec![Write::UpdateVm(updated.clone())]).await.unwrap();
    assert_eq!(scene.read(updated.id).await, Some(updated));
}

/// Writes before the one that is refused are undone, and nothing is told.
pub async fn a_change_that_is_refused_leaves_nothing<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let web = scene.insert("ann", "web").await;
    let fresh = scene.vm("ann", "fresh");
    let operation = scene.operation(&fresh, Some("key"));
    let renamed = VmRow { name: "other".parse().unwrap(), ..web.clone() };
    let before = scene.store.last_event(&cx()).await.unwrap();
    let change = FleetChange {
        guards: Vec::new(),
        writes: vec![
            Write::UpdateVm(renamed),
            Write::InsertVm(fresh.clone()),
            Write::InsertOperation(operation.clone()),
            Write::InsertVm(scene.vm("bob", "fresh")),
        ],
        events: vec![deleted_event(&web)],
        ..FleetChange::default()
    };
    refused(scene.commit(change).await, ErrorKind::AlreadyExists, "name_taken");
    assert_eq!(scene.read(web.id).await, Some(web));
    assert_eq!(scene.read(fresh.id).await, None);
    assert_eq!(scene.store.operation(&cx(), operation.id).await.unwrap(), None);
    assert_eq!(scene.store.last_event(&cx()).await.unwrap(), before);
    scene.write(vec![Write::InsertVm(fresh), Write::InsertOperation(operation)]).await.expect("nothing is in the way");
}

/// `Guard::Unchanged` looks at what was there before the writes, at both numbers.
pub async fn a_writer_that_read_an_older_row_is_refused<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let read = scene.insert("ann", "web").await;
    let guard = Guard::Unchanged { vm: read.id, generation: read.generation, settled: read.settled };
    let change = |row: VmRow| FleetChange {
        guards: vec![guard.clone()],
        writes: vec![Write::UpdateVm(row)],
        events: Vec::new(),
        ..FleetChange::default()
    };
    let first = VmRow { generation: Generation(2), ..read.clone() };
    scene.commit(change(first.clone())).await.expect("nothing was changed meanwhile");
    let second = VmRow { generation: Generation(2), epoch: 5, ..read.clone() };
    refused(scene.commit(change(second)).await, ErrorKind::Conflict, "changed_meanwhile");
    assert_eq!(scene.read(read.id).await, Some(first));
    let settled = VmRow { settled: Generation(1), ..read.clone() };
    scene.write(vec![Write::UpdateVm(settled.clone())]).await.unwrap();
    refused(scene.commit(change(read)).await, ErrorKind::Conflict, "changed_meanwhile");
    let unknown = Guard::Unchanged { vm: scene.env.vm_id(), generation: Generation(0), settled: Generation(0) };
    let change = FleetChange { guards: vec![unknown], ..FleetChange::default() };
    refused(scene.commit(change).await, ErrorKind::Conflict, "changed_meanwhile");
}

/// An update makes no row.
pub async fn what_is_not_there_cannot_be_updated<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.vm("ann", "web");
    let operation = scene.operation(&vm, None);
    for write in [Write::UpdateVm(vm), Write::UpdateOperation(operation)] {
        let error = scene.write(vec![write]).await.expect_err("there is nothing to update");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

/// Ids are never given twice, and an insert never replaces.
pub async fn an_id_is_used_once<S: FleetStore + ?Sized>(make: &impl AsyncFn(PathBuf) -> Arc<S>, folder: &Path) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let again = VmRow { name: "other".parse().unwrap(), ..vm.clone() };
    refused(scene.write(vec![Write::InsertVm(again.clone())]).await, ErrorKind::AlreadyExists, "id_taken");
    let operation = scene.operation(&vm, None);
    scene.write(vec![Write::InsertOperation(operation.clone())]).await.unwrap();
    refused(scene.write(vec![Write::InsertOperation(operation)]).await, ErrorKind::AlreadyExists, "id_taken");
    scene.destroy(&vm, 10).await;
    refused(scene.write(vec![Write::InsertVm(again)]).await, ErrorKind::AlreadyExists, "id_taken");
}

/// Destruction is for ever.
pub async fn a_tombstone_stays_one<S: FleetStore + ?Sized>(make: &impl AsyncFn(PathBuf) -> Arc<S>, folder: &Path) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let tomb = scene.destroy(&vm, 10).await;
    refused(scene.write(vec![Write::UpdateVm(vm.clone())]).await, ErrorKind::Conflict, "gone");
    assert_eq!(scene.read(vm.id).await, Some(tomb), "the tombstone is kept");
}

/// Two owners may use the same key, one owner may not use it twice.
pub async fn an_idempotency_key_is_unique_per_owner<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let (web, api) = (scene.vm("ann", "web"), scene.vm("bob", "web2"));
    let insert = |vm: &VmRow, key| scene.write(vec![Write::InsertOperation(scene.operation(vm, key))]);
    insert(&web, Some("key")).await.unwrap();
    refused(insert(&web, Some("key")).await, ErrorKind::AlreadyExists, "idempotency_key");
    insert(&api, Some("key")).await.expect("another owner's key is another key");
    insert(&web, Some("key2")).await.unwrap();
    insert(&web, None).await.unwrap();
    insert(&web, None).await.expect("without a key nothing is taken");
}

/// A caller that goes away leaves no half change.
pub async fn a_call_that_is_dropped_is_all_or_nothing<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    for polls in 0..4 {
        let vm = scene.vm("ann", &format!("web{polls}"));
        let change = FleetChange {
            guards: Vec::new(),
            writes: vec![Write::InsertVm(vm.clone())],
            events: vec![deleted_event(&vm)],
            ..FleetChange::default()
        };
        let before = scene.store.last_event(&cx()).await.unwrap();
        let (store, cx) = (scene.store.clone(), cx());
        let mut call = store.commit(&cx, &change);
        for _ in 0..polls {
            let ended = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
            if ended {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        // Whatever was on its way is there after a change that came later.
        scene.insert("ann", &format!("later{polls}")).await;
        let row = scene.read(vm.id).await.is_some();
        let told = scene
            .store
            .events(&cx, &EventQuery::all(before, 10))
            .await
            .unwrap()
            .iter()
            .any(|event| event.event.vm == vm.id);
        assert_eq!(row, told, "after {polls} polls");
    }
}
