//! That queries find their index, and that an older file gets it.

use rusqlite::{Connection, StatementStatus};

use super::{Folder, cx, event, fleet, tell};
use crate::store::fleet::{EventQuery, FleetChange, FleetStore, NewEvent, Owner};
use crate::store::sqlite::database::Database;
use crate::store::sqlite::error::Result;
use crate::store::sqlite::fleet::SCHEMA;
use crate::store::sqlite::fleet_read::{EVENTS_OF_ALL, EVENTS_OF_ONE};
use crate::store::sqlite::schema::Schema;
use crate::types::EventSeq;

/// What SQLite says it would do.
fn plan(reader: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut statement = reader.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        steps.push(row.get("detail")?);
    }
    Ok(steps)
}

#[tokio::test]
async fn an_owners_events_are_found_by_owner_and_place() {
    let folder = Folder::new();
    let fleet = fleet(&folder.file("fleet.db")).await;
    let plans = |reader: &Connection| Ok((plan(reader, EVENTS_OF_ONE)?, plan(reader, EVENTS_OF_ALL)?));
    let (one, all) = fleet.0.read(&cx(), plans).await.unwrap();
    assert_eq!(one, ["SEARCH event USING INDEX event_owner (owner=? AND rowid>?)"]);
    assert_eq!(all, ["SEARCH event USING INTEGER PRIMARY KEY (rowid>?)"]);
}

#[tokio::test]
async fn whoever_has_no_events_has_none_of_the_others_looked_at() {
    let folder = Folder::new();
    let fleet = fleet(&folder.file("fleet.db")).await;
    fleet.commit(&cx(), &FleetChange { events: vec![event(1); 10_000], ..FleetChange::default() }).await.unwrap();
    let theirs = NewEvent { owner: Owner("bob".to_owned()), ..event(2) };
    fleet.commit(&cx(), &FleetChange { events: vec![theirs; 3], ..FleetChange::default() }).await.unwrap();
    for (owner, want) in [("eve", 0), ("bob", 3)] {
        let steps = move |reader: &Connection| {
            let mut statement = reader.prepare(EVENTS_OF_ONE)?;
            let mut rows = statement.query((0, 1_000, owner))?;
            let mut found = 0;
            while rows.next()?.is_some() {
                found += 1;
            }
            drop(rows);
            Ok((found, statement.get_status(StatementStatus::VmStep)))
        };
        let (found, steps) = fleet.0.read(&cx(), steps).await.unwrap();
        assert_eq!(found, want);
        assert!(steps < 200, "{steps} steps for {want} events among 10,003");
        let page = fleet.events(&cx(), &EventQuery::of(Owner(owner.to_owned()), EventSeq(0), 1_000)).await.unwrap();
        assert_eq!(page.len(), want);
    }
}

#[tokio::test]
async fn bad_24_a_file_of_before_gets_the_index_and_keeps_its_events() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let before = Schema { migrations: &SCHEMA.migrations[..2], ..SCHEMA };
    let old = Database::open(path.clone(), before).await.unwrap();
    let insert = |writer: &Connection| {
        let sql = "INSERT INTO event (vm, name, owner, at, kind) VALUES (zeroblob(16), 'web', 'ann', 7, '{\"kind\":\"deleted\"}')";
        Ok(writer.execute(sql, [])?)
    };
    old.write(&cx(), insert).await.unwrap();
    old.close().await.unwrap();
    let fleet = fleet(&path).await;
    tell(&fleet, 8).await.unwrap();
    let page = fleet.events(&cx(), &EventQuery::of(Owner("ann".to_owned()), EventSeq(0), 10)).await.unwrap();
    assert_eq!(page.iter().map(|event| event.event.at.0).collect::<Vec<_>>(), [7, 8]);
}
