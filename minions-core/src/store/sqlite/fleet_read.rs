//! Queries of the fleet.

use rusqlite::{Connection, Row};

use super::column::{self, all, first};
use super::error::{Result, SqliteError};
use crate::error::Error;
use crate::store::fleet::{Event, EventQuery, NewEvent, OperationRow, Owner, VmQuery, VmRow};
use crate::types::{EventSeq, Generation, OperationId, UnixMillis, VmId, VmName};

pub(super) fn vm(reader: &Connection, id: VmId) -> Result<Option<VmRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM vm WHERE id = ?1")?;
    first(&mut statement, [column::id(id.bits())], vm_row)
}

pub(super) fn vm_by_name(reader: &Connection, name: &VmName) -> Result<Option<VmRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM vm WHERE name = ?1 AND deleted IS NULL")?;
    first(&mut statement, [name.as_str()], vm_row)
}

pub(super) fn vms(reader: &Connection, query: &VmQuery) -> Result<Vec<VmRow>> {
    // Each combination is a statement of its own, so that each finds its index.
    let mut sql = "SELECT * FROM vm WHERE id > ?1".to_owned();
    if query.owner.is_some() {
        sql.push_str(" AND owner = ?2");
    } else {
        sql.push_str(" AND ?2 IS NULL");
    }
    if query.unsettled {
        sql.push_str(" AND settled < generation");
    }
    if query.kept {
        sql.push_str(" AND kept");
    } else if !query.deleted {
        sql.push_str(" AND deleted IS NULL");
    }
    sql.push_str(" ORDER BY id LIMIT ?3");
    // No id is the empty one, and every id comes after it.
    let after = query.after.map(|id| column::id(id.bits()).to_vec()).unwrap_or_default();
    let owner = query.owner.as_ref().map(|owner| owner.0.as_str());
    let mut statement = reader.prepare_cached(&sql)?;
    all(&mut statement, (after, owner, column::limit(query.limit)), vm_row)
}

pub(super) fn operation(reader: &Connection, id: OperationId) -> Result<Option<OperationRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM operation WHERE id = ?1")?;
    first(&mut statement, [column::id(id.bits())], operation_row)
}

pub(super) fn operation_by_key(reader: &Connection, owner: &Owner, key: &str) -> Result<Option<OperationRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM operation WHERE owner = ?1 AND key = ?2")?;
    first(&mut statement, [owner.0.as_str(), key], operation_row)
}

pub(super) fn pending_operations(reader: &Connection, vm: VmId) -> Result<Vec<OperationRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM operation WHERE vm = ?1 AND pending ORDER BY place")?;
    all(&mut statement, [column::id(vm.bits())], operation_row)
}

pub(super) const EVENTS_OF_ALL: &str = "SELECT * FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
pub(super) const EVENTS_OF_ONE: &str =
    "SELECT * FROM event INDEXED BY event_owner WHERE owner = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2";

pub(super) fn events(reader: &Connection, query: &EventQuery) -> Result<Vec<Event>> {
    // A place beyond what SQLite can count has no events after it.
    let Ok(after) = i64::try_from(query.after.0) else { return Ok(Vec::new()) };
    let limit = column::limit(query.limit);
    let page: Vec<Event> = match &query.of {
        None => all(&mut reader.prepare_cached(EVENTS_OF_ALL)?, (after, limit), event_row)?,
        Some(of) => all(&mut reader.prepare_cached(EVENTS_OF_ONE)?, (after, limit, &of.0), event_row)?,
    };
    // The newest is never forgotten, so that whoever asks after a forgotten place finds the oldest to be too late. Looked
    // at after the page: what is forgotten in between was in it.
    let mut statement = reader.prepare_cached("SELECT coalesce(min(seq), 1) AS seq FROM event")?;
    let oldest = first(&mut statement, [], |row| column::unsigned(row, "seq"))?.unwrap_or(1);
    let forgotten = oldest.saturating_sub(1);
    if after > 0 && i64::try_from(forgotten).is_ok_and(|forgotten| forgotten > after) {
        let message = format!("events up to place {forgotten} are no longer kept; look anew, and go on from there");
        let error = Error::not_found(message).with_reason("events_pruned").with_field("after");
        return Err(SqliteError::Rule(error));
    }
    Ok(page)
}

pub(super) fn last_event(reader: &Connection) -> Result<EventSeq> {
    let mut statement = reader.prepare_cached("SELECT coalesce(max(seq), 0) AS seq FROM event")?;
    let seq = first(&mut statement, [], |row| column::unsigned(row, "seq"))?;
    Ok(EventSeq(seq.unwrap_or(0)))
}

fn vm_row(row: &Row<'_>) -> Result<VmRow> {
    Ok(VmRow {
        id: VmId::from_bits(column::bits(row, "id")?),
        name: column::parsed(row, "name")?,
        owner: Owner(row.get("owner")?),
        spec: column::from_json(row, "spec")?,
        goal: column::from_json(row, "goal")?,
        generation: Generation(column::unsigned(row, "generation")?),
        settled: Generation(column::unsigned(row, "settled")?),
        epoch: column::unsigned(row, "epoch")?,
        failure: column::optional_json(row, "failure")?,
        created: UnixMillis(column::unsigned(row, "created")?),
        updated: UnixMillis(column::unsigned(row, "updated")?),
        deleted: column::optional_unsigned(row, "deleted")?.map(UnixMillis),
        kept: row.get("kept")?,
        access: column::from_json(row, "access")?,
    })
}

fn operation_row(row: &Row<'_>) -> Result<OperationRow> {
    let idempotency = match (row.get("key")?, row.get("key_hash")?) {
        (Some(key), Some(hash)) => Some((key, hash)),
        (None, None) => None,
        _ => return Err(SqliteError::row("key_hash", "a key without its hash")),
    };
    Ok(OperationRow {
        id: OperationId::from_bits(column::bits(row, "id")?),
        verb: column::from_json(row, "verb")?,
        vm: VmId::from_bits(column::bits(row, "vm")?),
        owner: Owner(row.get("owner")?),
        generation: Generation(column::unsigned(row, "generation")?),
        idempotency,
        state: column::from_json(row, "state")?,
        marks: column::from_json(row, "marks")?,
        created: UnixMillis(column::unsigned(row, "created")?),
        ended: column::optional_unsigned(row, "ended")?.map(UnixMillis),
    })
}

fn event_row(row: &Row<'_>) -> Result<Event> {
    Ok(Event {
        seq: EventSeq(column::unsigned(row, "seq")?),
        event: NewEvent {
            vm: VmId::from_bits(column::bits(row, "vm")?),
            name: column::parsed(row, "name")?,
            owner: Owner(row.get("owner")?),
            at: UnixMillis(column::unsigned(row, "at")?),
            kind: column::from_json(row, "kind")?,
        },
    })
}
