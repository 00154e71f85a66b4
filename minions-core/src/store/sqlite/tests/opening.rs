//! Which files are opened, and what is said of the others. BAD-24.

use std::sync::Arc;

use rusqlite::Connection;

use super::{Folder, cx, fleet, is, tell, told};
use crate::env::{Clock, Env};
use crate::error::ErrorKind;
use crate::store::fleet::FleetStore;
use crate::store::journal::LeasePool;
use crate::store::sqlite::database::Database;
use crate::store::sqlite::fleet::SCHEMA;
use crate::store::sqlite::schema::Schema;
use crate::store::{SqliteFleet, SqliteJournal};
use crate::types::AddressPool;

fn range(first: u8, last: u8) -> AddressPool {
    AddressPool { first: [10, 0, 0, first].into(), last: [10, 0, 0, last].into() }
}

fn pool() -> LeasePool {
    LeasePool { addresses: vec![range(2, 9)].into(), uid_first: 9_000, uid_count: 8, rest: LeasePool::REST }
}

fn clock() -> Arc<dyn Clock> {
    Env::system().clock
}

async fn refusal(path: &std::path::Path) -> crate::Error {
    SqliteFleet::open(path).await.expect_err("it is not opened")
}

#[tokio::test]
async fn bad_24_an_absent_or_empty_file_is_made_and_says_so_once() {
    let folder = Folder::new();
    std::fs::write(folder.file("empty.db"), "").unwrap();
    for name in ["absent.db", "empty.db"] {
        let first = fleet(&folder.file(name)).await;
        assert!(first.created(), "{name}");
        tell(&first, 1).await.unwrap();
        first.close().await.unwrap();
        let second = fleet(&folder.file(name)).await;
        assert!(!second.created(), "{name}");
        assert_eq!(told(&second).await, [1], "{name}");
    }
}

#[tokio::test]
async fn bad_24_what_is_no_database_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let text = "not a database, but somebody's notes\n".repeat(300);
    std::fs::write(&path, &text).unwrap();
    is(&refusal(&path).await, ErrorKind::Denied, "store_foreign");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn bad_24_the_database_of_another_program_is_refused() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
    is(&refusal(&path).await, ErrorKind::Denied, "store_foreign");
    let journal = folder.file("journal.db");
    SqliteJournal::open(&journal, pool(), clock()).await.unwrap().close().await.unwrap();
    is(&refusal(&journal).await, ErrorKind::Denied, "store_foreign");
}

#[tokio::test]
async fn bad_24_a_newer_schema_is_refused_with_its_version_and_a_way_out() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    fleet(&path).await.close().await.unwrap();
    let newer = SCHEMA.version() + 3;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", newer).unwrap();
    let error = refusal(&path).await;
    is(&error, ErrorKind::Denied, "store_newer");
    for part in [newer.to_string(), SCHEMA.version().to_string(), "backup".to_owned()] {
        assert!(error.message().contains(&part), "{error} lacks {part}");
    }
}

const OLD: Schema = Schema { application_id: 77, migrations: &["CREATE TABLE a (x); INSERT INTO a VALUES (5)"] };
const NEW: Schema = Schema {
    application_id: 77,
    migrations: &[OLD.migrations[0], "ALTER TABLE a ADD COLUMN y", "UPDATE a SET y = x + 1"],
};
const BROKEN: Schema =
    Schema { application_id: 77, migrations: &[OLD.migrations[0], "ALTER TABLE a ADD COLUMN y", "SELECT nonsense"] };

#[tokio::test]
async fn bad_24_an_older_schema_is_backed_up_and_brought_up_to_date() {
    let folder = Folder::new();
    let path = folder.file("some.db");
    Database::open(path.clone(), OLD).await.unwrap().close().await.unwrap();
    let database = Database::open(path, NEW).await.unwrap();
    assert!(!database.created());
    let read = |reader: &Connection| Ok(reader.query_row("SELECT y FROM a", [], |row| row.get::<_, i64>(0))?);
    assert_eq!(database.read(&cx(), read).await.unwrap(), 6);
    let backup = Connection::open(folder.file("some.db.v1.bak")).unwrap();
    assert_eq!(backup.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    assert_eq!(backup.query_row("SELECT x FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 5);
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let folder = Folder::new();
    let path = folder.file("some.db");
    Database::open(path.clone(), OLD).await.unwrap().close().await.unwrap();
    for _ in 0..2 {
        assert!(Database::open(path.clone(), BROKEN).await.is_err());
    }
    let before = Connection::open(&path).unwrap();
    assert_eq!(before.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    assert!(before.prepare("SELECT y FROM a").is_err(), "the first step of two was undone");
    drop(before);
    Database::open(path, NEW).await.expect("the repaired program goes on from there");
}

#[tokio::test]
async fn bad_24_a_damaged_page_is_found_before_anything_is_written() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let store = fleet(&path).await;
    for at in 0..300 {
        tell(&store, at).await.unwrap();
    }
    store.close().await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle..middle + 64].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    is(&refusal(&path).await, ErrorKind::Unavailable, "store_corrupt");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is as it was found");
}

#[tokio::test]
async fn bad_24_a_second_daemon_is_refused_until_the_first_has_closed() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let first = fleet(&path).await;
    is(&refusal(&path).await, ErrorKind::Conflict, "store_in_use");
    tell(&first, 1).await.expect("the first one goes on");
    first.close().await.unwrap();
    assert_eq!(told(&fleet(&path).await).await, [1]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_said_so() {
    let folder = Folder::new();
    let error = refusal(&folder.file("no/such/fleet.db")).await;
    is(&error, ErrorKind::Unavailable, "store_io");
    assert!(error.chain().contains("no/such/fleet.db"), "{}", error.chain());
}

#[tokio::test]
async fn a_pool_that_nothing_could_come_from_is_refused() {
    let folder = Folder::new();
    let path = folder.file("journal.db");
    let wrong = [vec![], vec![range(9, 2)], vec![range(2, 5), range(20, 29), range(5, 9)]];
    let pools = wrong.map(|addresses| LeasePool { addresses: addresses.into(), ..pool() });
    let users = [LeasePool { uid_count: 0, ..pool() }, LeasePool { uid_first: u32::MAX, ..pool() }];
    for pool in pools.into_iter().chain(users) {
        let error = SqliteJournal::open(&path, pool.clone(), clock()).await.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{pool:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    tell(&store, 1).await.unwrap();
    store.backup_to(folder.file("backup.db")).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 5, "database, log, index, lock and backup");
}

#[tokio::test]
async fn connections_have_the_settings_that_answers_rely_on() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let settings = |connection: &Connection| {
        let get = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let names = ["synchronous", "foreign_keys", "trusted_schema", "mmap_size", "busy_timeout"];
        Ok(names.map(|name| get(name).unwrap()))
    };
    let want = [2, 1, 0, 0, 5_000];
    assert_eq!(store.0.read(&cx(), settings).await.unwrap(), want);
    assert_eq!(store.0.write(&cx(), settings).await.unwrap(), want);
    let mode =
        |connection: &Connection| Ok(connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))?);
    assert_eq!(store.0.read(&cx(), mode).await.unwrap(), "wal");
    let last = store.last_event(&cx()).await.unwrap();
    let write = |reader: &Connection| Ok(reader.execute("DELETE FROM event", [])?);
    is(&store.0.read(&cx(), write).await.unwrap_err(), ErrorKind::Unavailable, "store_read_only");
    assert_eq!(store.last_event(&cx()).await.unwrap(), last);
}
