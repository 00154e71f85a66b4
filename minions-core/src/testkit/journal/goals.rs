//! Goals, generations and how they ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{Scene, pool, refused, secret};
use crate::error::ErrorKind;
use crate::store::journal::{Accepted, GoalEntry, Journal, LeasePool, Outcome};
use crate::testkit::cx;
use crate::types::{ByteSize, Generation, Goal, StateReason, StopHow};

/// What was asked, what was lent, and nothing that did not happen yet.
pub async fn an_accepted_entry_reads_back_with_its_lease<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let pool = pool(9);
    let scene = Scene::new(make, folder, pool.clone()).await;
    let entry = GoalEntry { goal: Goal::Stopped { how: StopHow::Force }, ..scene.entry() };
    let row = scene.taken_on(&entry).await;
    assert_eq!(row.entry, entry);
    assert_eq!((row.provisioned, &row.outcome), (None, &None));
    assert!(pool.addresses.iter().any(|range| range.contains(row.lease.ip)), "{:?}", row.lease);
    assert!((pool.uid_first..pool.uid_first + pool.uid_count).contains(&row.lease.uid), "{:?}", row.lease);
    assert_eq!(row.lease.secret, secret(1));
    assert_eq!(scene.read(entry.vm).await, Some(row.clone()));
    assert_eq!(scene.all().await, [row]);
    assert_eq!(scene.read(scene.env.vm_id()).await, None);
}

/// A repeat is answered with the row that is there, and the first secret stays.
pub async fn the_same_generation_changes_nothing<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let row = scene.row().await;
    let mut differs = row.entry.clone();
    differs.spec.memory = ByteSize::gib(64);
    for entry in [&row.entry, &differs] {
        let again = scene.journal.accept(&cx(), entry, &secret(2)).await.unwrap();
        assert_eq!(again, Accepted::Row(Box::new(row.clone())));
    }
    assert_eq!(scene.all().await, [row]);
}

/// INV-13.
pub async fn a_lower_generation_is_refused<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let entry = GoalEntry { generation: Generation(5), ..scene.entry() };
    let row = scene.taken_on(&entry).await;
    for goal in [Goal::Running { epoch: 9 }, Goal::ABSENT] {
        let late = GoalEntry { generation: Generation(4), goal, ..entry.clone() };
        refused(scene.accept(&late).await, ErrorKind::Conflict, "stale_generation");
    }
    assert_eq!(scene.read(entry.vm).await, Some(row));
}

/// What was lent and made belongs to the VM, the outcome to the generation.
pub async fn a_higher_generation_keeps_the_lease_and_forgets_the_outcome<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let row = scene.row().await;
    scene.journal.provisioned(&cx(), row.entry.vm, 0).await.unwrap();
    assert!(scene.journal.settle(&cx(), row.entry.vm, row.entry.generation, &Outcome::Met).await.unwrap());
    let mut entry = GoalEntry {
        generation: Generation(7),
        goal: Goal::Stopped { how: StopHow::DEFAULT },
        hostname: "other".parse().unwrap(),
        ..row.entry.clone()
    };
    entry.spec.memory = ByteSize::gib(3);
    let next = match scene.journal.accept(&cx(), &entry, &secret(2)).await.unwrap() {
        Accepted::Row(next) => *next,
        Accepted::Gone => panic!("it is not gone"),
    };
    assert_eq!(next.entry, entry);
    assert_eq!((&next.lease, next.provisioned, &next.outcome), (&row.lease, Some(0), &None));
    assert_eq!(scene.read(entry.vm).await, Some(next));
}

/// One that comes too late is not noted, and says so.
pub async fn an_outcome_belongs_to_its_generation<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let vm = scene.row().await.entry.vm;
    let given_up = Outcome::GivenUp { kind: ErrorKind::Exhausted, reason: StateReason::new("no_capacity", "full") };
    for outcome in [&given_up, &Outcome::Met] {
        assert!(scene.journal.settle(&cx(), vm, Generation(1), outcome).await.unwrap());
        assert_eq!(scene.read(vm).await.unwrap().outcome.as_ref(), Some(outcome));
    }
    for other in [0, 2, u64::MAX] {
        assert!(!scene.journal.settle(&cx(), vm, Generation(other), &given_up).await.unwrap());
    }
    assert_eq!(scene.read(vm).await.unwrap().outcome, Some(Outcome::Met));
    assert!(!scene.journal.settle(&cx(), scene.env.vm_id(), Generation(1), &given_up).await.unwrap());
}

/// A missing disk is a loss from then on.
pub async fn made_disks_stay_made<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let vm = scene.row().await.entry.vm;
    let other = scene.row().await.entry.vm;
    for _ in 0..2 {
        scene.journal.provisioned(&cx(), vm, 0).await.unwrap();
        assert_eq!(scene.read(vm).await.unwrap().provisioned, Some(0));
    }
    assert_eq!(scene.read(other).await.unwrap().provisioned, None, "it is noted of one VM only");
    // With a root disk of a later turn they were made again; a late word of an earlier one changes nothing.
    for turn in [2, 1, 0] {
        scene.journal.provisioned(&cx(), vm, turn).await.unwrap();
        assert_eq!(scene.read(vm).await.unwrap().provisioned, Some(2), "{turn}");
    }
    let error = scene.journal.provisioned(&cx(), scene.env.vm_id(), 0).await.expect_err("there is no such VM");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// Page after page, every row once, no tombstone.
pub async fn rows_are_paged_in_the_order_of_their_ids<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(20)).await;
    let mut want = Vec::new();
    for nth in 0..9 {
        let row = scene.row().await;
        if nth % 3 == 0 {
            scene.bury(&row).await;
        } else {
            want.push(row);
        }
    }
    want.sort_by_key(|row| row.entry.vm);
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = scene.journal.rows(&cx(), after, 4).await.unwrap();
        assert!(page.len() <= 4, "no page is longer than asked for");
        let Some(last) = page.last() else { break };
        after = Some(last.entry.vm);
        seen.extend(page);
    }
    assert_eq!(seen, want);
}
