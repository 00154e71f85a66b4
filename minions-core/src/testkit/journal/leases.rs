//! What is lent out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::rows::{Scene, pool, refused, secret};
use crate::error::ErrorKind;
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, LeasePool};
use crate::testkit::cx;
use crate::types::{AddressPool, Goal, StopHow};

#[track_caller]
fn all_differ(rows: &[JournalRow]) {
    let distinct = |what: &str, values: BTreeSet<String>| assert_eq!(values.len(), rows.len(), "{what}: {values:?}");
    distinct("cid", rows.iter().map(|row| row.lease.cid.get().to_string()).collect());
    distinct("ip", rows.iter().map(|row| row.lease.ip.to_string()).collect());
    distinct("mac", rows.iter().map(|row| row.lease.mac.to_string()).collect());
    distinct("uid", rows.iter().map(|row| row.lease.uid.to_string()).collect());
}

/// INV-2, stopped VMs and those on their way out included.
pub async fn no_two_rows_share_a_lease<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(30)).await;
    for nth in 0..30 {
        let row = scene.row().await;
        let goal = match nth % 3 {
            0 => Goal::Stopped { how: StopHow::Force },
            1 => Goal::ABSENT,
            _ => continue,
        };
        scene.taken_on(&GoalEntry { goal, generation: row.entry.generation.next(), ..row.entry }).await;
    }
    let rows = scene.all().await;
    assert_eq!(rows.len(), 30);
    all_differ(&rows);
}

/// The same, at the same time.
pub async fn concurrent_entries_share_no_lease<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(40)).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let (journal, entry) = (scene.journal.clone(), scene.entry());
        calls.spawn(async move { journal.accept(&cx(), &entry, &secret(3)).await });
    }
    let mut rows = Vec::new();
    for result in calls.join_all().await {
        match result {
            Ok(Accepted::Row(row)) => rows.push(*row),
            other => refused(other, ErrorKind::Exhausted, "no_capacity"),
        }
    }
    assert_eq!(rows.len(), 40, "all of the pool is lent, and no more");
    all_differ(&rows);
    rows.sort_by_key(|row| row.entry.vm);
    assert_eq!(scene.all().await, rows);
}

/// Whoever comes first makes it, the others find it.
pub async fn concurrent_entries_of_one_vm_make_one_row<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(9)).await;
    let entry = scene.entry();
    let mut calls = tokio::task::JoinSet::new();
    for nth in 0..20 {
        let (journal, entry) = (scene.journal.clone(), entry.clone());
        calls.spawn(async move { journal.accept(&cx(), &entry, &secret(nth)).await.unwrap() });
    }
    let answers = calls.join_all().await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "all are told of the same row");
    assert_eq!(scene.all().await.len(), 1);
}

/// What cannot be lent whole is not lent in part.
pub async fn a_used_up_pool_refuses_and_leaves_nothing<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(2)).await;
    let first = scene.row().await;
    scene.row().await;
    let late = scene.entry();
    for _ in 0..3 {
        refused(scene.accept(&late).await, ErrorKind::Exhausted, "no_capacity");
    }
    assert_eq!(scene.read(late.vm).await, None);
    assert_eq!(scene.all().await.len(), 2);
    scene.bury(&first).await;
    let row = scene.taken_on(&late).await;
    assert_eq!(row.lease.ip, first.lease.ip, "a burial frees what was lent");
    all_differ(&scene.all().await);
}

/// As long as there is another one, nobody gets what somebody else has just given back.
pub async fn a_freed_lease_is_given_out_last<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, pool(4)).await;
    let first = scene.row().await;
    let second = scene.row().await;
    scene.bury(&second).await;
    scene.bury(&first).await;
    let third = scene.row().await;
    let fourth = scene.row().await;
    let given = [&first, &second, &third, &fourth].map(|row| row.clone());
    all_differ(&given);
    // Nothing is left that was never used: the one freed longest ago comes first.
    let (fifth, sixth) = (scene.row().await, scene.row().await);
    for (later, earlier) in [(fifth, second), (sixth, first)] {
        assert_eq!((later.lease.ip, later.lease.uid), (earlier.lease.ip, earlier.lease.uid));
    }
    refused(scene.accept(&scene.entry()).await, ErrorKind::Exhausted, "no_capacity");
}

/// A network of several bridges has as many ranges: they are one pool.
pub async fn ranges_are_used_up_in_order_and_given_out_again_as_one<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let range = |third: u8| AddressPool { first: [10, 9, third, 2].into(), last: [10, 9, third, 3].into() };
    let ranges = LeasePool { addresses: vec![range(7), range(4), range(5)].into(), ..pool(7) };
    let scene = Scene::new(make, folder, ranges).await;
    let mut rows = Vec::new();
    for _ in 0..6 {
        rows.push(scene.row().await);
    }
    let shards: Vec<_> = rows.iter().map(|row| row.lease.ip.octets()[2]).collect();
    assert_eq!(shards, [7, 7, 4, 4, 5, 5]);
    all_differ(&rows);
    refused(scene.accept(&scene.entry()).await, ErrorKind::Exhausted, "no_capacity");
    // The one freed longest ago comes first, whichever range it is of.
    let order = [4, 1, 2];
    for nth in order {
        scene.bury(&rows[nth]).await;
    }
    for nth in order {
        assert_eq!(scene.row().await.lease.ip, rows[nth].lease.ip);
    }
}

/// Users may run out before addresses do.
pub async fn the_smallest_range_bounds_the_pool<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder, LeasePool { uid_count: 1, ..pool(9) }).await;
    let row = scene.row().await;
    refused(scene.accept(&scene.entry()).await, ErrorKind::Exhausted, "no_capacity");
    scene.bury(&row).await;
    let next = scene.row().await;
    assert_eq!(next.lease.uid, row.lease.uid);
    assert_ne!(next.lease.ip, row.lease.ip, "there are addresses that were never used");
}

/// CTL-3.6: who talked to the VM that had it before must not talk to the next one.
pub async fn what_is_freed_rests_before_it_is_given_out_again<J: Journal + ?Sized>(
    make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>,
    folder: &Path,
) {
    let rest = Duration::from_millis(1_500);
    let scene = Scene::new(make, folder, LeasePool { rest, ..pool(2) }).await;
    let first = scene.row().await;
    let freed = Instant::now();
    scene.bury(&first).await;
    let second = scene.row().await;
    assert_ne!(second.lease.ip, first.lease.ip, "one that was never used needs no rest");
    let late = scene.entry();
    let mut refusals = 0;
    let third = loop {
        match scene.accept(&late).await {
            Ok(Accepted::Row(row)) => break row,
            refusal => {
                refusals += 1;
                let told = refusal.as_ref().err().map(|error| error.message().to_owned()).unwrap_or_default();
                refused(refusal, ErrorKind::Exhausted, "lease_resting");
                // As it says: whole seconds, and never less than what is left.
                assert!(["try again in 1 s", "try again in 2 s"].iter().any(|text| told.contains(text)), "{told}");
                assert_eq!(scene.read(late.vm).await, None);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    assert!(freed.elapsed() >= rest, "it was given out after {:?}", freed.elapsed());
    assert_eq!((third.lease.ip, third.lease.uid), (first.lease.ip, first.lease.uid));
    // On a machine that is slow enough, it had rested before it was asked for.
    println!("refused {refusals} times");
    refused(scene.accept(&scene.entry()).await, ErrorKind::Exhausted, "no_capacity");
}
