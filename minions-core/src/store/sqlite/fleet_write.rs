//! The one transaction that changes the fleet.

use rusqlite::{Connection, ErrorCode, named_params};

use super::column;
use super::error::{Result, SqliteError};
use super::{fleet_read, people};
use crate::error::ErrorKind;
use crate::store::fleet::{FleetChange, Guard, NewEvent, OperationRow, OperationState, Owner, VmRow, Write};
use crate::types::EventSeq;

pub(super) fn commit(writer: &Connection, change: &FleetChange) -> Result<EventSeq> {
    for guard in &change.guards {
        before(writer, guard)?;
    }
    for write in &change.writes {
        match write {
            Write::InsertVm(row) => insert_vm(writer, row)?,
            Write::UpdateVm(row) => update_vm(writer, row)?,
            Write::InsertOperation(row) => insert_operation(writer, row)?,
            Write::UpdateOperation(row) => update_operation(writer, row)?,
        }
    }
    for write in &change.people {
        people::write(writer, write)?;
    }
    after(writer, &change.guards)?;
    for event in &change.events {
        insert_event(writer, event)?;
    }
    people::append(writer, &change.audit)?;
    fleet_read::last_event(writer)
}

/// Guards about what was there.
fn before(writer: &Connection, guard: &Guard) -> Result<()> {
    match guard {
        Guard::Unchanged { vm, generation, settled } => {
            let mut statement = writer.prepare_cached("SELECT generation, settled FROM vm WHERE id = ?1")?;
            let found = column::first(&mut statement, [column::id(vm.bits())], |row| {
                Ok((column::unsigned(row, "generation")?, column::unsigned(row, "settled")?))
            })?;
            if found != Some((generation.0, settled.0)) {
                let message = "the vm was changed meanwhile; read it and try again";
                return Err(SqliteError::rule(ErrorKind::Conflict, "changed_meanwhile", message));
            }
        }
        Guard::NameRested { name, owner, since } => {
            let since = column::integer(since.0, "since")?;
            let mut statement = writer.prepare_cached(
                "SELECT 1 FROM vm WHERE name = ?1 AND deleted IS NOT NULL AND deleted >= ?2 AND owner <> ?3 LIMIT 1",
            )?;
            if statement.exists((name.as_str(), since, &owner.0))? {
                return Err(name_taken());
            }
        }
        Guard::VmsAtMost { .. } | Guard::DiskAtMost { .. } | Guard::MemoryAtMost { .. } => {}
    }
    Ok(())
}

/// Guards about what there is now. The rows of an owner are added up once for all of them.
fn after(writer: &Connection, guards: &[Guard]) -> Result<()> {
    let mut known: Option<(&Owner, Usage)> = None;
    for guard in guards {
        let (owner, limit, what) = match guard {
            Guard::VmsAtMost { owner, limit } => (owner, *limit, "vms"),
            Guard::DiskAtMost { owner, limit } => (owner, limit.get(), "disk"),
            Guard::MemoryAtMost { owner, limit } => (owner, limit.get(), "memory"),
            Guard::Unchanged { .. } | Guard::NameRested { .. } => continue,
        };
        let usage = match known {
            Some((whose, usage)) if whose == owner => usage,
            _ => usage(writer, owner)?,
        };
        known = Some((owner, usage));
        let used = match guard {
            Guard::VmsAtMost { .. } => usage.vms,
            Guard::DiskAtMost { .. } => match (usage.disk, kept(writer, owner)?) {
                (Some(disk), Some(kept)) => disk.checked_add(kept),
                _ => None,
            },
            _ => usage.memory,
        };
        if used.is_none_or(|used| used > limit) {
            let message = format!("the quota of {what} is used up; destroy something, or ask for more");
            return Err(SqliteError::rule(ErrorKind::Exhausted, "quota", message));
        }
    }
    Ok(())
}

/// What an owner has; `None` where it is more than can be counted.
#[derive(Clone, Copy)]
struct Usage {
    vms: Option<u64>,
    disk: Option<u64>,
    memory: Option<u64>,
}

fn usage(writer: &Connection, owner: &Owner) -> Result<Usage> {
    let sum = |what: &str| {
        let mut statement = writer.prepare_cached(&format!(
            "SELECT count(*) AS vms, {what} FROM vm INDEXED BY vm_quota WHERE owner = ?1 AND deleted IS NULL"
        ))?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Usage {
                vms: Some(column::unsigned(row, "vms")?),
                disk: column::optional_unsigned(row, "disk")?,
                memory: column::optional_unsigned(row, "memory")?,
            })
        };
        column::first(&mut statement, [&owner.0], read)
    };
    const DISK: &str = "coalesce(sum(disk), 0) AS disk";
    const MEMORY: &str = "coalesce(sum(memory), 0) AS memory";
    let all = match sum(&format!("{DISK}, {MEMORY}")) {
        Err(error) if overflows(&error) => {
            // One of them at least; the other may still count.
            let alone = |what: &str| match sum(what) {
                Err(error) if overflows(&error) => Ok(None),
                other => other,
            };
            let (disk, memory) =
                (alone(&format!("{DISK}, NULL AS memory"))?, alone(&format!("{MEMORY}, NULL AS disk"))?);
            let vms = sum("NULL AS disk, NULL AS memory")?.and_then(|usage| usage.vms);
            let (disk, memory) = (disk.and_then(|usage| usage.disk), memory.and_then(|usage| usage.memory));
            Some(Usage { vms, disk, memory })
        }
        other => other?,
    };
    Ok(all.unwrap_or(Usage { vms: None, disk: None, memory: None }))
}

/// Bytes of the disks that an owner's tombstones keep; `None` where that is more than can be counted.
fn kept(writer: &Connection, owner: &Owner) -> Result<Option<u64>> {
    let sql = "SELECT coalesce(sum(disk), 0) AS disk FROM vm INDEXED BY vm_kept WHERE owner = ?1 AND kept";
    match column::first(&mut writer.prepare_cached(sql)?, [&owner.0], |row| column::unsigned(row, "disk")) {
        Err(error) if overflows(&error) => Ok(None),
        other => other,
    }
}

fn overflows(error: &SqliteError) -> bool {
    matches!(error, SqliteError::Sql(error) if error.to_string().contains("integer overflow"))
}

fn insert_vm(writer: &Connection, row: &VmRow) -> Result<()> {
    let mut statement = writer.prepare_cached(
        "INSERT INTO vm (id, name, owner, spec, memory, disk, goal, generation, settled, epoch, failure, created, updated,
                         deleted, kept, access)
         VALUES (:id, :name, :owner, :spec, :memory, :disk, :goal, :generation, :settled, :epoch, :failure, :created,
                 :updated, :deleted, :kept, :access)",
    )?;
    execute_vm(&mut statement, row)?;
    Ok(())
}

fn update_vm(writer: &Connection, row: &VmRow) -> Result<()> {
    let mut statement = writer.prepare_cached(
        "UPDATE vm SET name = :name, owner = :owner, spec = :spec, memory = :memory, disk = :disk, goal = :goal,
                       generation = :generation, settled = :settled, epoch = :epoch, failure = :failure,
                       created = :created, updated = :updated, deleted = :deleted, kept = :kept, access = :access
         WHERE id = :id AND (deleted IS NULL OR :deleted IS NOT NULL)",
    )?;
    if execute_vm(&mut statement, row)? == 1 {
        return Ok(());
    }
    match fleet_read::vm(writer, row.id)? {
        None => Err(SqliteError::rule(ErrorKind::NotFound, "vm_unknown", format!("there is no vm {}", row.id))),
        Some(_) => Err(SqliteError::rule(ErrorKind::Conflict, "gone", format!("the vm {} was destroyed", row.id))),
    }
}

fn execute_vm(statement: &mut rusqlite::CachedStatement<'_>, row: &VmRow) -> Result<usize> {
    let data = row.spec.data.map_or(0, |data| data.get());
    let disk = if row.deleted.is_some() { data } else { row.spec.root.get().saturating_add(data) };
    let done = statement.execute(named_params! {
        ":id": column::id(row.id.bits()),
        ":name": row.name.as_str(),
        ":owner": row.owner.0,
        ":spec": column::json(&row.spec, "spec")?,
        ":memory": column::integer(row.spec.memory.get(), "memory")?,
        ":disk": column::integer(disk, "disk")?,
        ":goal": column::json(&row.goal, "goal")?,
        ":generation": column::integer(row.generation.0, "generation")?,
        ":settled": column::integer(row.settled.0, "settled")?,
        ":epoch": column::integer(row.epoch, "epoch")?,
        ":failure": row.failure.as_ref().map(|failure| column::json(failure, "failure")).transpose()?,
        ":created": column::integer(row.created.0, "created")?,
        ":updated": column::integer(row.updated.0, "updated")?,
        ":deleted": row.deleted.map(|deleted| column::integer(deleted.0, "deleted")).transpose()?,
        ":kept": row.deleted.is_some() && row.kept,
        ":access": column::json(&row.access, "access")?,
    });
    done.map_err(|error| match taken(&error) {
        Some(columns) if columns.contains("vm.name") => name_taken(),
        Some(_) => SqliteError::rule(ErrorKind::AlreadyExists, "id_taken", "there is a vm with this id already"),
        None => error.into(),
    })
}

fn insert_operation(writer: &Connection, row: &OperationRow) -> Result<()> {
    let mut statement = writer.prepare_cached(
        "INSERT INTO operation (id, verb, vm, owner, generation, key, key_hash, pending, state, marks, created, ended)
         VALUES (:id, :verb, :vm, :owner, :generation, :key, :key_hash, :pending, :state, :marks, :created, :ended)",
    )?;
    execute_operation(&mut statement, row)?;
    Ok(())
}

fn update_operation(writer: &Connection, row: &OperationRow) -> Result<()> {
    let mut statement = writer.prepare_cached(
        "UPDATE operation SET verb = :verb, vm = :vm, owner = :owner, generation = :generation, key = :key,
                              key_hash = :key_hash, pending = :pending, state = :state, marks = :marks,
                              created = :created, ended = :ended
         WHERE id = :id",
    )?;
    if execute_operation(&mut statement, row)? == 1 {
        return Ok(());
    }
    let message = format!("there is no operation {}", row.id);
    Err(SqliteError::rule(ErrorKind::NotFound, "operation_unknown", message))
}

fn execute_operation(statement: &mut rusqlite::CachedStatement<'_>, row: &OperationRow) -> Result<usize> {
    let done = statement.execute(named_params! {
        ":id": column::id(row.id.bits()),
        ":verb": column::json(&row.verb, "verb")?,
        ":vm": column::id(row.vm.bits()),
        ":owner": row.owner.0,
        ":generation": column::integer(row.generation.0, "generation")?,
        ":key": row.idempotency.as_ref().map(|(key, _)| key),
        ":key_hash": row.idempotency.as_ref().map(|(_, hash)| hash),
        ":pending": matches!(row.state, OperationState::Pending),
        ":state": column::json(&row.state, "state")?,
        ":marks": column::json(&row.marks, "marks")?,
        ":created": column::integer(row.created.0, "created")?,
        ":ended": row.ended.map(|ended| column::integer(ended.0, "ended")).transpose()?,
    });
    done.map_err(|error| match taken(&error) {
        Some(columns) if columns.contains("operation.key") => {
            let message = "this idempotency key is in use already";
            SqliteError::rule(ErrorKind::AlreadyExists, "idempotency_key", message)
        }
        Some(_) => {
            SqliteError::rule(ErrorKind::AlreadyExists, "id_taken", "there is an operation with this id already")
        }
        None => error.into(),
    })
}

fn insert_event(writer: &Connection, event: &NewEvent) -> Result<()> {
    // The newest is never forgotten, so that the next place is one more than the last.
    let mut statement =
        writer.prepare_cached("INSERT INTO event (vm, name, owner, at, kind) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    statement.execute((
        column::id(event.vm.bits()),
        event.name.as_str(),
        &event.owner.0,
        column::integer(event.at.0, "at")?,
        column::json(&event.kind, "kind")?,
    ))?;
    Ok(())
}

fn name_taken() -> SqliteError {
    SqliteError::rule(ErrorKind::AlreadyExists, "name_taken", "this name is taken; choose another")
}

/// The columns of a constraint of uniqueness that was broken.
pub(super) fn taken(error: &rusqlite::Error) -> Option<String> {
    let rusqlite::Error::SqliteFailure(code, Some(text)) = error else { return None };
    let unique = matches!(
        code.extended_code,
        rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
    );
    (code.code == ErrorCode::ConstraintViolation && unique).then(|| text.clone())
}
