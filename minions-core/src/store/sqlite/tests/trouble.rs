//! What the database can do to us. FK-11.

use rusqlite::Connection;

use super::group::busy;
use super::{Folder, cx, event, fleet, is, tell, told};
use crate::error::{Effect, ErrorKind};
use crate::store::fleet::{EventQuery, FleetChange, FleetStore};
use crate::store::sqlite::error::SqliteError;

#[tokio::test]
async fn after_a_doubtful_commit_the_effect_is_unknown_and_a_read_decides() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    tell(&store, 1).await.unwrap();
    store.0.fail_next_commit();
    let error = tell(&store, 2).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown, "{}", error.chain());
    let commits = store.commits();
    assert_eq!(told(&store).await, [1], "what a read says is settled");
    assert_eq!(store.commits(), commits + 1, "by a commit of its own");
    assert_eq!(told(&store).await, [1]);
    assert_eq!(store.commits(), commits + 1, "once");
    tell(&store, 3).await.unwrap();
    assert_eq!(told(&store).await, [1, 3]);
}

#[tokio::test]
async fn while_the_doubt_lasts_nothing_is_read() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    store.0.fail_next_commit();
    tell(&store, 1).await.unwrap_err();
    store.0.fail_next_commit();
    let error = store.last_event(&cx()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{}", error.chain());
    store.last_event(&cx()).await.expect("the next commit settled it");
}

#[tokio::test]
async fn a_change_that_was_refused_is_certain_even_where_its_group_is_not() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let (release, holder) = busy(&store).await;
    let cx = cx();
    let refused = store.0.write(&cx, |_| Err::<(), _>(SqliteError::rule(ErrorKind::Conflict, "planted", "planted")));
    store.0.fail_next_commit();
    let released = async { drop(release) };
    let (refused, kept, ()) = tokio::join!(refused, tell(&store, 1), released);
    holder.await.unwrap();
    assert_eq!(refused.unwrap_err().effect(), Effect::None);
    assert_eq!(kept.unwrap_err().effect(), Effect::Unknown);
}

#[tokio::test]
async fn a_full_disk_is_told_changes_nothing_and_passes() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    tell(&store, 1).await.unwrap();
    let pages = |limit: i64| {
        store.0.meddle(|writer| {
            writer.query_row(&format!("PRAGMA max_page_count = {limit}"), [], |_| Ok(())).unwrap();
        })
    };
    pages(1);
    let large = FleetChange { events: vec![event(2); 2_000], ..FleetChange::default() };
    let error = store.commit(&cx(), &large).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, "store_full");
    assert_eq!(error.effect(), Effect::None);
    assert_eq!(told(&store).await, [1], "reads go on");
    pages(1_000_000);
    store.commit(&cx(), &large).await.unwrap();
    assert_eq!(told(&store).await.len(), 2_001);
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_told_and_reads_go_on() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    tell(&store, 1).await.unwrap();
    let only = |on: bool| store.0.meddle(|writer| writer.pragma_update(None, "query_only", on).unwrap());
    only(true);
    let error = tell(&store, 2).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, "store_read_only");
    assert_eq!(error.effect(), Effect::None);
    assert_eq!(told(&store).await, [1]);
    only(false);
    tell(&store, 3).await.unwrap();
    assert_eq!(told(&store).await, [1, 3]);
}

#[tokio::test]
async fn a_database_that_another_connection_keeps_locked_is_told_as_busy() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let store = fleet(&path).await;
    store.0.meddle(|writer| writer.busy_timeout(std::time::Duration::ZERO).unwrap());
    let intruder = Connection::open(&path).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = tell(&store, 1).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, "store_busy");
    assert_eq!(error.effect(), Effect::None);
    intruder.execute_batch("ROLLBACK").unwrap();
    tell(&store, 2).await.unwrap();
    assert_eq!(told(&store).await, [2]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_and_not_an_absence() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    tell(&store, 1).await.unwrap();
    let spoil = |writer: &Connection| Ok(writer.execute("UPDATE event SET kind = '{\"kind\":\"gibberish\"}'", [])?);
    store.0.write(&cx(), spoil).await.unwrap();
    let error = store.events(&cx(), &EventQuery::all(Default::default(), 10)).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, "store_corrupt");
}

#[tokio::test]
async fn a_closed_store_says_so_and_has_kept_what_it_accepted() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let store = fleet(&path).await;
    let (told_one, closed) = tokio::join!(tell(&store, 1), store.close());
    told_one.unwrap();
    closed.unwrap();
    is(&tell(&store, 2).await.unwrap_err(), ErrorKind::Unavailable, "store_closed");
    is(&store.last_event(&cx()).await.unwrap_err(), ErrorKind::Unavailable, "store_closed");
    store.close().await.expect("closing again does nothing");
    assert_eq!(told(&fleet(&path).await).await, [1]);
}
