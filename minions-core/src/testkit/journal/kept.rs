//! Data disks that outlive the VM that they were made for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{Scene, absent, pool, refused};
use crate::error::ErrorKind;
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, LeasePool};
use crate::testkit::cx;
use crate::types::{Generation, Goal, VmId, VmSpec};

/// What asks for absence, and for the data disk to stay.
fn keeping(entry: &GoalEntry) -> GoalEntry {
    GoalEntry { goal: Goal::Absent { keep_data: true }, ..absent(entry) }
}

async fn buried<J: Journal + ?Sized>(scene: &Scene<J>, entry: GoalEntry) {
    scene.taken_on(&entry).await;
    scene.journal.bury(&cx(), entry.vm, entry.generation).await.unwrap();
}

async fn keeps<J: Journal + ?Sized>(scene: &Scene<J>, vm: VmId) -> Option<bool> {
    scene.journal.tombstone(&cx(), vm).await.unwrap().map(|tombstone| tombstone.keeps_data)
}

fn taking(scene: &Scene<impl Journal + ?Sized>, from: VmId) -> GoalEntry {
    let entry = scene.entry();
    GoalEntry { spec: VmSpec { data_from: Some(from), ..entry.spec.clone() }, ..entry }
}

/// The disk of a VM that was to leave it is taken over by one row at a time, and goes with the one that does not leave it.
pub async fn a_data_disk_that_was_kept_is_one_rows_at_a_time<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let row = scene.row().await;
    let from = row.entry.vm;
    refused(scene.accept(&taking(&scene, from)).await, ErrorKind::NotFound, "disk_unknown");
    buried(&scene, keeping(&row.entry)).await;
    assert_eq!(keeps(&scene, from).await, Some(true));

    let first = taking(&scene, from);
    let taken: JournalRow = scene.taken_on(&first).await;
    assert_eq!(taken.entry.spec.data_from, Some(from));
    assert_eq!(scene.taken_on(&first).await, taken, "the same entry again is no second one");
    refused(scene.accept(&taking(&scene, from)).await, ErrorKind::Conflict, "disk_in_use");
    let removal = GoalEntry { generation: Generation(99), goal: Goal::ABSENT, ..row.entry.clone() };
    refused(scene.accept(&removal).await, ErrorKind::Conflict, "disk_in_use");

    // Left once more, it is the same disk.
    buried(&scene, keeping(&first)).await;
    assert_eq!((keeps(&scene, from).await, keeps(&scene, first.vm).await), (Some(true), Some(false)));
    let second = taking(&scene, from);
    scene.taken_on(&second).await;
    buried(&scene, absent(&second)).await;
    assert_eq!(keeps(&scene, from).await, Some(false), "it went with the one that did not leave it");
    refused(scene.accept(&taking(&scene, from)).await, ErrorKind::NotFound, "disk_unknown");
}

/// A tombstone that keeps a disk becomes a row again to remove it, and only for that.
pub async fn a_kept_data_disk_goes_by_a_goal_of_absence_at_a_higher_generation<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(2)).await;
    let row = scene.row().await;
    let vm = row.entry.vm;
    let last = keeping(&row.entry);
    buried(&scene, last.clone()).await;
    assert_eq!(scene.accept(&last).await.unwrap(), Accepted::Gone);
    let stale = GoalEntry { goal: Goal::ABSENT, ..last.clone() };
    assert_eq!(scene.accept(&stale).await.unwrap(), Accepted::Gone, "an older word removes nothing");
    assert_eq!(keeps(&scene, vm).await, Some(true));
    let alive = GoalEntry { generation: Generation(50), goal: Goal::Running { epoch: 9 }, ..row.entry.clone() };
    refused(scene.accept(&alive).await, ErrorKind::Conflict, "gone");

    let removal = GoalEntry { generation: last.generation.next(), ..stale };
    let again = scene.taken_on(&removal).await;
    assert_eq!(again.entry, removal);
    assert_eq!(scene.all().await, [again]);
    assert_eq!(keeps(&scene, vm).await, None);
    scene.journal.bury(&cx(), vm, removal.generation).await.unwrap();
    assert_eq!(keeps(&scene, vm).await, Some(false));
    assert_eq!(scene.all().await, []);
    // What it was lent is free again.
    scene.row().await;
    scene.row().await;
}
