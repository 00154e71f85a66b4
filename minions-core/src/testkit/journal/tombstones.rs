//! What stays of what is gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{Scene, absent, pool, refused, secret};
use crate::error::ErrorKind;
use crate::store::journal::{Accepted, GoalEntry, Journal, LeasePool, Outcome};
use crate::testkit::cx;
use crate::types::{Generation, Goal, StopHow, VmId};

/// INV-13: what was asked of it before may arrive after, and makes nothing any more. Nothing is lent for it.
pub async fn absence_of_what_never_was_leaves_a_tombstone_and_nothing_else<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(1)).await;
    let late = scene.entry();
    let entry = absent(&late);
    for _ in 0..2 {
        assert_eq!(scene.accept(&entry).await.unwrap(), Accepted::Gone);
        assert_eq!(scene.read(entry.vm).await, None);
        assert_eq!(scene.all().await, []);
        assert!(scene.journal.tombstone(&cx(), entry.vm).await.unwrap().is_some());
    }
    for generation in [late.generation, entry.generation, entry.generation.next()] {
        refused(scene.accept(&GoalEntry { generation, ..late.clone() }).await, ErrorKind::Conflict, "gone");
    }
    assert_eq!(scene.all().await, []);
    // The one lease of the pool was not touched.
    scene.row().await;
}

/// What names its things the same keeps it from ever getting a row; its own burial goes on as if nothing had been.
pub async fn absence_of_what_is_named_like_another_does_not_touch_the_other<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(2)).await;
    let row = scene.row().await;
    let late = scene.entry_of(VmId::from_bits(row.entry.vm.bits() ^ (1 << 100)));
    assert_eq!(scene.accept(&absent(&late)).await.unwrap(), Accepted::Gone);
    assert_eq!(scene.read(row.entry.vm).await, Some(row.clone()));
    assert!(scene.accept(&late).await.is_err());
    scene.bury(&row).await;
    assert!(scene.journal.tombstone(&cx(), row.entry.vm).await.unwrap().is_some());
    assert!(scene.accept(&late).await.is_err());
    assert_eq!(scene.all().await, []);
}

/// INV-6: only a durable goal of absence ends in a tombstone.
pub async fn a_burial_needs_the_goal_of_absence_at_its_generation<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let row = scene.row().await;
    let vm = row.entry.vm;
    let bury = |generation| {
        let journal = scene.journal.clone();
        async move { journal.bury(&cx(), vm, Generation(generation)).await }
    };
    for goal in [Goal::Running { epoch: 2 }, Goal::Stopped { how: StopHow::Force }] {
        let generation = scene.read(vm).await.unwrap().entry.generation.next();
        scene.taken_on(&GoalEntry { goal, generation, ..row.entry.clone() }).await;
        assert_eq!(bury(generation.0).await.expect_err("it shall live").kind(), ErrorKind::Conflict);
    }
    let last = GoalEntry { goal: Goal::ABSENT, generation: Generation(9), ..row.entry.clone() };
    let before = scene.taken_on(&last).await;
    for other in [3, 8, 10] {
        assert_eq!(bury(other).await.expect_err("another generation").kind(), ErrorKind::Conflict);
    }
    assert_eq!(scene.read(vm).await, Some(before), "what is refused changes nothing");
    assert!(scene.journal.tombstone(&cx(), vm).await.unwrap().is_none());
    for _ in 0..2 {
        bury(9).await.expect("a repeat is fine");
        assert!(scene.journal.tombstone(&cx(), vm).await.unwrap().is_some());
        assert_eq!(scene.read(vm).await, None);
    }
    assert!(scene.journal.tombstone(&cx(), scene.env.vm_id()).await.unwrap().is_none());
}

/// INV-4 and INV-13, past the tombstone.
pub async fn an_id_with_a_tombstone_never_gets_a_row_again<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let row = scene.row().await;
    let vm = row.entry.vm;
    scene.bury(&row).await;
    for generation in [0, 1, 2, 3, 1_000] {
        let entry = GoalEntry { generation: Generation(generation), ..row.entry.clone() };
        refused(scene.accept(&entry).await, ErrorKind::Conflict, "gone");
        let entry = GoalEntry { goal: Goal::ABSENT, ..entry };
        assert_eq!(scene.accept(&entry).await.unwrap(), Accepted::Gone);
    }
    assert!(!scene.journal.settle(&cx(), vm, Generation(2), &Outcome::Met).await.unwrap());
    assert_eq!(scene.journal.provisioned(&cx(), vm, 0).await.expect_err("it is gone").kind(), ErrorKind::NotFound);
    assert_eq!(scene.all().await, []);
    assert!(scene.journal.tombstone(&cx(), vm).await.unwrap().is_some());
}

/// Two ids that end alike would name the same things.
pub async fn names_of_things_are_unique_over_rows_and_tombstones<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(2)).await;
    let row = scene.row().await;
    let alike = VmId::from_bits(row.entry.vm.bits() ^ (1 << 100));
    assert_eq!(alike.short(), row.entry.vm.short());
    let entry = scene.entry_of(alike);
    refused(scene.accept(&entry).await, ErrorKind::AlreadyExists, "short_taken");
    scene.bury(&row).await;
    refused(scene.journal.accept(&cx(), &entry, &secret(1)).await, ErrorKind::AlreadyExists, "short_taken");
    assert_eq!(scene.read(alike).await, None);
    scene.row().await;
    scene.row().await;
}
