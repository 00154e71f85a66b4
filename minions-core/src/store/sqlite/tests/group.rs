//! Many callers, one commit.

use std::sync::mpsc;

use rusqlite::Connection;
use tokio::task::JoinSet;

use super::{Folder, cx, fleet, is, tell, told};
use crate::error::{Effect, ErrorKind};
use crate::store::SqliteFleet;
use crate::store::sqlite::error::SqliteError;

/// Keeps the writer busy until the sender is dropped.
pub(super) async fn busy(store: &SqliteFleet) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = tokio::sync::oneshot::channel();
    let database = store.0.clone();
    let holder = tokio::spawn(async move {
        let work = move |_: &Connection| {
            let _ = entered.send(());
            let _ = held.recv();
            Ok(())
        };
        database.write(&cx(), work).await.unwrap();
    });
    inside.await.unwrap();
    (release, holder)
}

/// On a runtime of one thread, every task that was spawned has asked for its change after this.
async fn all_have_asked() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn changes_that_wait_share_one_commit() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let (release, holder) = busy(&store).await;
    let mut calls = JoinSet::new();
    for at in 1..=200 {
        let store = store.clone();
        calls.spawn(async move { tell(&store, at).await.unwrap().0 });
    }
    all_have_asked().await;
    assert_eq!(store.commits(), 0);
    drop(release);
    let mut places = calls.join_all().await;
    holder.await.unwrap();
    assert_eq!(store.commits(), 1, "two hundred changes wait for the disk once");
    places.sort_unstable();
    assert_eq!(places, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_change_that_fails_takes_nobody_along() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let (release, holder) = busy(&store).await;
    let mut calls = JoinSet::new();
    for at in 1..=9 {
        let store = store.clone();
        calls.spawn(async move {
            if at % 3 != 0 {
                return tell(&store, at).await.is_ok();
            }
            let work = |writer: &Connection| {
                writer
                    .execute("INSERT INTO event (vm, name, owner, at, kind) SELECT zeroblob(16), '', '', 0, ''", [])?;
                Err::<(), _>(SqliteError::rule(ErrorKind::Conflict, "planted", "planted"))
            };
            is(&store.0.write(&cx(), work).await.unwrap_err(), ErrorKind::Conflict, "planted");
            false
        });
    }
    all_have_asked().await;
    drop(release);
    let kept = calls.join_all().await.into_iter().filter(|kept| *kept).count();
    holder.await.unwrap();
    assert_eq!((kept, store.commits()), (6, 1));
    let mut held = told(&store).await;
    held.sort_unstable();
    assert_eq!(held, [1, 2, 4, 5, 7, 8]);
}

#[tokio::test]
async fn a_change_whose_caller_left_before_its_turn_is_not_made() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let (release, holder) = busy(&store).await;
    let left = tokio::spawn({
        let store = store.clone();
        async move { tell(&store, 1).await }
    });
    all_have_asked().await;
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    drop(release);
    holder.await.unwrap();
    tell(&store, 2).await.unwrap();
    assert_eq!(told(&store).await, [2]);
}

#[tokio::test]
async fn a_change_that_changes_nothing_does_not_wait_for_the_disk() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    store.0.write(&cx(), |_| Ok(())).await.unwrap();
    assert_eq!(store.commits(), 0);
    tell(&store, 1).await.unwrap();
    assert_eq!(store.commits(), 1);
}

#[tokio::test]
async fn a_change_that_panics_takes_nobody_along() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let (release, holder) = busy(&store).await;
    let before = tokio::spawn({
        let store = store.clone();
        async move { tell(&store, 1).await }
    });
    all_have_asked().await;
    let work = |writer: &Connection| -> Result<(), SqliteError> {
        writer.execute("DELETE FROM event", [])?;
        panic!("planted")
    };
    let (cx, release) = (cx(), async { drop(release) });
    let (panicked, after, ()) = tokio::join!(store.0.write(&cx, work), tell(&store, 2), release);
    let error = panicked.unwrap_err();
    is(&error, ErrorKind::Internal, "store_bug");
    assert_eq!(error.effect(), Effect::None);
    before.await.unwrap().unwrap();
    after.unwrap();
    holder.await.unwrap();
    assert_eq!((told(&store).await, store.commits()), (vec![1, 2], 1));
}

#[test]
fn a_store_outlives_the_runtime_that_it_was_opened_on() {
    let folder = Folder::new();
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let first = runtime();
    let store = first.block_on(fleet(&folder.file("fleet.db")));
    let (release, held) = mpsc::channel::<()>();
    let abandoned = store.clone();
    first.block_on(async {
        tokio::task::spawn_blocking(move || held.recv());
        tokio::spawn(async move { tell(&abandoned, 1).await });
        all_have_asked().await;
    });
    // The task that writes is still behind the one that waits, and never begins.
    first.shutdown_background();
    drop(release);
    let second = runtime();
    second.block_on(tell(&store, 2)).expect("nobody waits for a task of the runtime that is gone");
    assert!(second.block_on(told(&store)).ends_with(&[2]));
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_run_ahead_of_the_disk() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let begin = tokio::time::Instant::now();
    for at in 1..=20 {
        tell(&store, at).await.expect("the deadline does not pass while the disk works");
        assert_eq!(told(&store).await.len() as u64, at);
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(1), "{:?}", begin.elapsed());
}
