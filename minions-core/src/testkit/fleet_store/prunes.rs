//! What is forgotten, and what never is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{Scene, deleted_event, refused};
use crate::error::ErrorKind;
use crate::store::fleet::{
    EventQuery, FleetChange, FleetStore, NewEvent, OperationRow, OperationState, Owner, VmRow, Write,
};
use crate::store::retention::{Prune, Pruned};
use crate::testkit::cx;
use crate::types::{EventSeq, UnixMillis};

/// Keeps everything.
const KEEP: Prune = Prune {
    events_before: UnixMillis(0),
    events_most: u64::MAX,
    keys_before: UnixMillis(0),
    operations_before: UnixMillis(0),
    operations_most: u64::MAX,
    limit: 100,
};

/// Keeps nothing that may be forgotten.
const FORGET: Prune = Prune {
    events_before: UnixMillis(u64::MAX),
    events_most: 0,
    keys_before: UnixMillis(u64::MAX),
    operations_before: UnixMillis(u64::MAX),
    operations_most: 0,
    limit: 100,
};

impl<S: FleetStore + ?Sized> Scene<S> {
    /// Tells something at each of these times. The first place of them.
    async fn tell(&self, times: impl IntoIterator<Item = u64>) -> u64 {
        let vm = self.vm("ann", "web");
        let begin = self.store.last_event(&cx()).await.unwrap().0;
        let events = times.into_iter().map(|at| NewEvent { at: UnixMillis(at), ..deleted_event(&vm) }).collect();
        self.commit(FleetChange { events, ..FleetChange::default() }).await.unwrap();
        begin + 1
    }

    async fn prune(&self, prune: Prune) -> Pruned {
        self.store.prune(&cx(), &prune).await.unwrap()
    }

    /// The places of what is kept.
    async fn kept(&self) -> Vec<u64> {
        let events = self.store.events(&cx(), &EventQuery::all(EventSeq(0), 100)).await.unwrap();
        events.iter().map(|event| event.seq.0).collect()
    }

    /// An operation that ended then, or is pending.
    async fn ended(&self, vm: &VmRow, key: Option<&str>, ended: Option<u64>) -> OperationRow {
        let mut row = self.operation(vm, key);
        self.write(vec![Write::InsertOperation(row.clone())]).await.unwrap();
        if let Some(ended) = ended {
            row = OperationRow { state: OperationState::Succeeded, ended: Some(UnixMillis(ended)), ..row };
            self.write(vec![Write::UpdateOperation(row.clone())]).await.unwrap();
        }
        row
    }

    async fn is_kept(&self, operation: &OperationRow) -> bool {
        self.store.operation(&cx(), operation.id).await.unwrap().is_some()
    }
}

/// By age and by number, in bounded parts; the newest stays, and the next one follows on it.
pub async fn old_events_go_oldest_first_and_the_newest_stays<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let first = scene.tell(1..=10).await;
    assert_eq!(scene.prune(KEEP).await, Pruned::default());
    let by_age = Prune { events_before: UnixMillis(6), limit: 3, ..KEEP };
    assert_eq!(scene.prune(by_age).await, Pruned { events: 3, more: true, ..Pruned::default() });
    assert_eq!(scene.prune(by_age).await, Pruned { events: 2, ..Pruned::default() });
    assert_eq!(scene.kept().await, (first + 5..first + 10).collect::<Vec<_>>());
    assert_eq!(scene.prune(Prune { events_most: 3, ..KEEP }).await.events, 2);
    assert_eq!(scene.kept().await, (first + 7..first + 10).collect::<Vec<_>>());
    for _ in 0..2 {
        scene.prune(FORGET).await;
        assert_eq!(scene.kept().await, [first + 9], "the newest stays");
    }
    assert_eq!(scene.tell([11]).await, first + 10, "no place is given twice");
    assert_eq!(scene.kept().await, [first + 9, first + 10]);
}

/// Where a clock went back, what is younger keeps what was told after it, for a gap would look like a loss.
pub async fn an_event_that_stays_keeps_all_behind_it<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let first = scene.tell([1, 90, 2, 3]).await;
    assert_eq!(scene.prune(Prune { events_before: UnixMillis(50), ..KEEP }).await.events, 1);
    assert_eq!(scene.kept().await, [first + 1, first + 2, first + 3]);
}

/// No gap is silent.
pub async fn a_reader_after_a_forgotten_place_is_told_so<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let first = scene.tell(1..=9).await;
    scene.prune(Prune { events_before: UnixMillis(5), ..KEEP }).await;
    for missed in first..first + 3 {
        refused(
            scene.store.events(&cx(), &EventQuery::all(EventSeq(missed), 2)).await,
            ErrorKind::NotFound,
            "events_pruned",
        );
    }
    for place in first + 3..first + 9 {
        let page =
            scene.store.events(&cx(), &EventQuery::all(EventSeq(place), 2)).await.expect("nothing is missing after it");
        assert_eq!(page.first().map(|event| event.seq.0), (place < first + 8).then_some(place + 1));
    }
    assert_eq!(scene.kept().await.first(), Some(&(first + 4)), "place 0 is the beginning of what is kept");
}

/// What was forgotten counts for every reader, whosever it was; what an owner has left is found behind it.
pub async fn an_owner_after_a_forgotten_place_is_told_so<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let first = scene.tell(1..=9).await;
    let own = scene.store.events(&cx(), &EventQuery::all(EventSeq(0), 1)).await.unwrap()[0].event.owner.clone();
    let (own, nobody) = (own, Owner("nobody".to_owned()));
    scene.prune(Prune { events_before: UnixMillis(5), ..KEEP }).await;
    for missed in first..first + 3 {
        for of in [own.clone(), nobody.clone()] {
            refused(
                scene.store.events(&cx(), &EventQuery::of(of, EventSeq(missed), 2)).await,
                ErrorKind::NotFound,
                "events_pruned",
            );
        }
    }
    for place in (first + 3..first + 9).chain([0]) {
        let page = scene
            .store
            .events(&cx(), &EventQuery::of(own.clone(), EventSeq(place), 1))
            .await
            .expect("nothing is missing after it");
        let next = place.max(first + 3) + 1;
        assert_eq!(page.first().map(|event| event.seq.0), (next < first + 9).then_some(next));
        assert_eq!(scene.store.events(&cx(), &EventQuery::of(nobody.clone(), EventSeq(place), 1)).await.unwrap(), []);
    }
    scene.tell([11]).await;
    let page = scene.store.events(&cx(), &EventQuery::of(own, EventSeq(first + 8), 2)).await.unwrap();
    assert_eq!(page.first().map(|event| event.seq.0), Some(first + 9), "what comes later is found as well");
}

/// A key stands for its operation until its time; the operation outlives it, and the key may then be used again.
pub async fn a_key_is_forgotten_before_its_operation<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let old = scene.ended(&vm, Some("old"), Some(100)).await;
    let young = scene.ended(&vm, Some("young"), Some(101)).await;
    let pending = scene.ended(&vm, Some("pending"), None).await;
    let by_key = async |key: &str| scene.store.operation_by_key(&cx(), &vm.owner, key).await.unwrap();
    assert_eq!(scene.prune(Prune { keys_before: UnixMillis(100), ..KEEP }).await, Pruned::default());
    assert_eq!(by_key("old").await, Some(old.clone()));
    // A key keeps its operation, however old that is.
    assert_eq!(scene.prune(Prune { keys_before: UnixMillis(100), ..FORGET }).await.operations, 0);
    assert_eq!(scene.prune(Prune { keys_before: UnixMillis(101), ..KEEP }).await.keys, 1);
    assert_eq!(by_key("old").await, None);
    assert_eq!(by_key("young").await, Some(young));
    let without = OperationRow { idempotency: None, ..old.clone() };
    assert_eq!(scene.store.operation(&cx(), old.id).await.unwrap(), Some(without));
    scene.ended(&vm, Some("old"), None).await;
    scene.prune(FORGET).await;
    assert_eq!(by_key("young").await, None);
    assert_eq!(by_key("pending").await, Some(pending), "what is under way keeps its key");
}

/// Operations that ended go by age and by number, in bounded parts; VMs, tombstones and what is pending stay.
pub async fn operations_that_ended_go_and_all_else_stays<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let (vm, dead) = (scene.insert("ann", "web").await, scene.insert("ann", "dead").await);
    let tomb = scene.destroy(&dead, 1).await;
    let pending = scene.ended(&vm, None, None).await;
    let mut rows = Vec::new();
    for ended in 10..16 {
        rows.push(scene.ended(&vm, None, Some(ended)).await);
    }
    let kept = async || {
        let mut kept = Vec::new();
        for row in &rows {
            kept.push(scene.is_kept(row).await);
        }
        kept
    };
    let by_age = Prune { operations_before: UnixMillis(13), limit: 2, ..KEEP };
    assert_eq!(scene.prune(by_age).await, Pruned { operations: 2, more: true, ..Pruned::default() });
    assert_eq!(scene.prune(by_age).await, Pruned { operations: 1, ..Pruned::default() });
    assert_eq!(kept().await, [false, false, false, true, true, true]);
    assert_eq!(scene.prune(Prune { operations_most: 2, ..KEEP }).await.operations, 1);
    assert_eq!(kept().await, [false, false, false, false, true, true]);
    scene.prune(FORGET).await;
    assert_eq!(kept().await, [false; 6]);
    assert_eq!(scene.store.pending_operations(&cx(), vm.id).await.unwrap(), [pending]);
    assert_eq!((scene.read(vm.id).await, scene.read(dead.id).await), (Some(vm), Some(tomb)));
}
