//! What was given back rests, whatever becomes of the process and of the clock meanwhile. CTL-3.6.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Folder, cx};
use crate::env::Clock;
use crate::error::{ErrorKind, Result};
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, LeasePool};
use crate::store::sqlite::SqliteJournal;
use crate::store::sqlite::database::Database;
use crate::store::sqlite::journal::SCHEMA;
use crate::store::sqlite::schema::Schema;
use crate::types::{AddressPool, AgentSecret, Generation, Goal, ImageId, UnixMillis, VmId, VmSpec};

/// The wall's time at which a process begins, and how long it has run, in seconds.
#[derive(Debug)]
struct Hands {
    begun: u64,
    ran: AtomicU64,
}

impl Hands {
    fn at(begun: u64) -> Arc<Self> {
        Arc::new(Self { begun, ran: AtomicU64::new(0) })
    }

    fn run(&self, seconds: u64) {
        self.ran.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.ran.load(Ordering::Relaxed))
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis((self.begun + self.ran.load(Ordering::Relaxed)) * 1000)
    }
}

/// One address for one VM at a time.
async fn journal(folder: &Folder, clock: &Arc<Hands>) -> SqliteJournal {
    let first = [10, 0, 0, 2].into();
    let addresses = vec![AddressPool { first, last: first }].into();
    let pool = LeasePool { addresses, uid_first: 9_000, uid_count: 1, rest: LeasePool::REST };
    SqliteJournal::open(folder.file("journal.db"), pool, clock.clone()).await.unwrap()
}

fn entry(number: u128, goal: Goal) -> GoalEntry {
    let generation = Generation(if goal.is_absent() { 2 } else { 1 });
    let spec = VmSpec::of(ImageId::from_digest([5; 32]));
    GoalEntry { vm: VmId::from_bits(number), hostname: "web".parse().unwrap(), generation, goal, spec }
}

async fn accept(journal: &SqliteJournal, number: u128) -> Result<Box<JournalRow>> {
    let secret = AgentSecret::from_bytes([1; 32]);
    match journal.accept(&cx(), &entry(number, Goal::Running { epoch: 1 }), &secret).await? {
        Accepted::Row(row) => Ok(row),
        Accepted::Gone => panic!("it is new"),
    }
}

async fn bury(journal: &SqliteJournal, number: u128) {
    let gone = entry(number, Goal::ABSENT);
    journal.accept(&cx(), &gone, &AgentSecret::from_bytes([1; 32])).await.unwrap();
    journal.bury(&cx(), gone.vm, gone.generation).await.unwrap();
}

async fn refused(journal: &SqliteJournal, number: u128, left: &str) {
    let error = accept(journal, number).await.expect_err("it rests");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("lease_resting")), "{}", error.chain());
    assert!(error.message().contains(&format!("try again in {left} s")), "{error}, not {left} s");
    assert!(journal.row(&cx(), VmId::from_bits(number)).await.unwrap().is_none());
}

#[tokio::test]
async fn ctl_3_6_a_freed_address_is_not_given_out_for_sixty_seconds_not_even_by_the_next_process() {
    let folder = Folder::new();
    let clock = Hands::at(1_000_000);
    let store = journal(&folder, &clock).await;
    let ip = accept(&store, 1).await.unwrap().lease.ip;
    clock.run(100);
    bury(&store, 1).await;
    refused(&store, 2, "60").await;
    clock.run(159);
    refused(&store, 2, "1").await;
    store.close().await.unwrap();
    // The host has rebooted meanwhile: what counts is the wall's time.
    let clock = Hands::at(1_000_159);
    let store = journal(&folder, &clock).await;
    refused(&store, 2, "1").await;
    clock.run(1);
    assert_eq!(accept(&store, 2).await.unwrap().lease.ip, ip);
    store.close().await.unwrap();
}

#[tokio::test]
async fn ctl_3_6_a_clock_that_is_put_back_neither_shortens_the_rest_nor_makes_it_last() {
    let folder = Folder::new();
    let store = journal(&folder, &Hands::at(1_000_000)).await;
    accept(&store, 1).await.unwrap();
    bury(&store, 1).await;
    store.close().await.unwrap();
    let clock = Hands::at(900_000);
    let store = journal(&folder, &clock).await;
    refused(&store, 2, "60").await;
    clock.run(60);
    accept(&store, 2).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn bad_24_what_a_version_before_has_freed_has_rested() {
    let folder = Folder::new();
    let old = Schema { application_id: SCHEMA.application_id, migrations: &SCHEMA.migrations[..2] };
    let path = folder.file("journal.db");
    Database::open(path.clone(), old).await.unwrap().close().await.unwrap();
    let freed = "INSERT INTO freed (kind, value) VALUES ('ip', 167772162), ('uid', 9000), ('cid', 3)";
    rusqlite::Connection::open(&path).unwrap().execute(freed, []).unwrap();
    let store = journal(&folder, &Hands::at(1_000_000)).await;
    assert_eq!(accept(&store, 1).await.unwrap().lease.uid, 9_000);
    bury(&store, 1).await;
    refused(&store, 2, "60").await;
    store.close().await.unwrap();
    assert!(folder.file("journal.db.v2.bak").exists());
}
