//! What the contract's suite cannot see: files, groups, trouble.

mod durable;
mod group;
mod opening;
mod plans;
mod resting;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::SqliteFleet;
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::store::fleet::{EventKind, EventQuery, FleetChange, FleetStore, NewEvent, Owner};
use crate::types::{EventSeq, UnixMillis, VmId};

/// A folder that is gone with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("minions-sqlite-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn cx() -> CallCx {
    CallCx::new("test", Duration::from_secs(60))
}

fn event(at: u64) -> NewEvent {
    NewEvent {
        vm: VmId::from_bits(1),
        name: "web".parse().unwrap(),
        owner: Owner("ann".to_owned()),
        at: UnixMillis(at),
        kind: EventKind::Deleted,
    }
}

/// One change that only tells something.
async fn tell(fleet: &SqliteFleet, at: u64) -> Result<EventSeq> {
    fleet.commit(&cx(), &FleetChange { events: vec![event(at)], ..FleetChange::default() }).await
}

/// What was told, by its times.
async fn told(fleet: &SqliteFleet) -> Vec<u64> {
    let events = fleet.events(&cx(), &EventQuery::all(EventSeq(0), 100_000)).await.unwrap();
    events.into_iter().map(|event| event.event.at.0).collect()
}

async fn fleet(path: &Path) -> SqliteFleet {
    SqliteFleet::open(path).await.unwrap()
}

#[track_caller]
fn is(error: &Error, kind: ErrorKind, reason: &str) {
    assert_eq!((error.kind(), error.reason()), (kind, Some(reason)), "{}", error.chain());
}
