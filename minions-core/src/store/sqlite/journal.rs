//! What one host has taken on, in SQLite.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Row};

use super::column::{self, all, first};
use super::database::Database;
use super::error::{Result as Sql, SqliteError};
use super::lease;
use super::schema::Schema;
use crate::env::{CallCx, Clock};
use crate::error::{ErrorKind, Result};
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, LeasePool, Outcome, Tombstone};
use crate::types::{AgentSecret, Generation, Goal, UnixMillis, VmId};

/// A tombstone is a row of `vm` that is `buried`: it keeps the id, the short id and the generation.
const VERSION_1: &str = "
CREATE TABLE vm (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    short TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    buried INTEGER NOT NULL DEFAULT 0,
    absent INTEGER NOT NULL,
    entry TEXT,
    provisioned INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,
    CHECK (buried = (entry IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX vm_live ON vm (id) WHERE NOT buried;

CREATE TABLE lease (
    vm BLOB PRIMARY KEY REFERENCES vm (id),
    cid INTEGER NOT NULL UNIQUE,
    ip INTEGER NOT NULL UNIQUE,
    mac TEXT NOT NULL UNIQUE,
    uid INTEGER NOT NULL UNIQUE,
    secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE freed (
    turn INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    value INTEGER NOT NULL,
    UNIQUE (kind, value)
) STRICT;
CREATE INDEX freed_turn ON freed (kind, turn);
";

/// A tombstone may keep a data disk, which one row at a time takes over. `provisioned` counts from 1: one more than the turn of
/// the root disk.
const VERSION_2: &str = "
ALTER TABLE vm ADD COLUMN keeps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vm ADD COLUMN data_from BLOB;
CREATE UNIQUE INDEX vm_data_from ON vm (data_from) WHERE data_from IS NOT NULL;
";

/// When it was freed, in milliseconds since 1970: what was freed before has rested.
const VERSION_3: &str = "
ALTER TABLE freed ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
";

pub(super) const SCHEMA: Schema =
    Schema { application_id: 0x6d6e_6a72, migrations: &[VERSION_1, VERSION_2, VERSION_3] };

/// What looking at the clock of the time before may take.
const SETTLE: Duration = Duration::from_secs(30);

/// A [`Journal`] in one SQLite file.
///
/// Calls need a tokio runtime, on whose blocking threads all of the work is done.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    pub(super) database: Database,
    pool: LeasePool,
    now: Now,
}

/// The time that leases rest by: the wall's at the opening, since it must outlive us, and from there on one that never
/// goes back.
#[derive(Clone, Debug)]
struct Now {
    clock: Arc<dyn Clock>,
    opened: (UnixMillis, Duration),
}

impl Now {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { opened: (clock.wall(), clock.monotonic()), clock }
    }

    fn get(&self) -> UnixMillis {
        let passed = self.clock.monotonic().saturating_sub(self.opened.1);
        UnixMillis(self.opened.0.0.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl SqliteJournal {
    /// Opens the file, or makes it in a folder that exists, and lends from this pool, by this clock. Rows keep what they
    /// were lent from another one. Beside the file lie `-wal`, `-shm` and `.lock`.
    ///
    /// # Errors
    /// `Conflict` reason `store_in_use` where another process has it, `Denied` reason `store_newer` or `store_foreign`
    /// where it is not for this program, `Unavailable` reason `store_corrupt` where it is damaged.
    pub async fn open(path: impl Into<PathBuf>, pool: LeasePool, clock: Arc<dyn Clock>) -> Result<Self> {
        lease::check(&pool)?;
        let database = Database::open(path.into(), SCHEMA).await?;
        let now = Now::new(clock);
        // By a clock that has been put back since, it would rest until then.
        let (cx, opened) = (CallCx::new("open", SETTLE), now.get());
        if database.read(&cx, lease::last_freed).await?.is_some_and(|at| at > opened) {
            database.write(&cx, move |writer| lease::freed_by(writer, opened)).await?;
        }
        Ok(Self { database, pool, now })
    }

    /// Whether [`open`](Self::open) made the file: then it knows of nothing, and nothing may be swept for that.
    #[must_use]
    pub fn created(&self) -> bool {
        self.database.created()
    }

    /// Transactions committed since it was opened, each of which waited for the disk once.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.database.commits()
    }

    /// Copies the database, while it is in use, to a file that does not exist yet; the copy is opened and checked before
    /// it gets its name.
    pub async fn backup_to(&self, path: impl Into<PathBuf>) -> Result<()> {
        self.database.backup_to(path.into()).await
    }

    /// Waits for the changes that were accepted, closes the file and releases its lock. Later calls are `Unavailable`.
    pub async fn close(&self) -> Result<()> {
        self.database.close().await
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn accept(&self, cx: &CallCx, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted> {
        let (entry, secret, pool, now) = (entry.clone(), secret.clone(), self.pool.clone(), self.now.get());
        self.database.write(cx, move |writer| accept(writer, (&pool, now), &entry, &secret)).await
    }

    async fn row(&self, cx: &CallCx, vm: VmId) -> Result<Option<JournalRow>> {
        self.database.read(cx, move |reader| row(reader, vm)).await
    }

    async fn rows(&self, cx: &CallCx, after: Option<VmId>, limit: usize) -> Result<Vec<JournalRow>> {
        self.database.read(cx, move |reader| rows(reader, after, limit)).await
    }

    async fn provisioned(&self, cx: &CallCx, vm: VmId, turn: u32) -> Result<()> {
        self.database.write(cx, move |writer| provisioned(writer, vm, turn)).await
    }

    async fn settle(&self, cx: &CallCx, vm: VmId, generation: Generation, outcome: &Outcome) -> Result<bool> {
        let outcome = outcome.clone();
        self.database.write(cx, move |writer| settle(writer, vm, generation, &outcome)).await
    }

    async fn bury(&self, cx: &CallCx, vm: VmId, generation: Generation) -> Result<()> {
        let now = self.now.get();
        self.database.write(cx, move |writer| bury(writer, vm, generation, now)).await
    }

    async fn tombstone(&self, cx: &CallCx, vm: VmId) -> Result<Option<Tombstone>> {
        let tombstone = move |reader: &Connection| {
            let buried = known(reader, vm)?.filter(|known| known.buried);
            Ok(buried.map(|known| Tombstone { keeps_data: known.keeps }))
        };
        self.database.read(cx, tombstone).await
    }
}

const JOINED: &str =
    "SELECT vm.entry, vm.provisioned, vm.outcome, lease.cid, lease.ip, lease.mac, lease.uid, lease.secret
                      FROM vm JOIN lease ON lease.vm = vm.id";

/// What is kept of a VM and of a tombstone alike.
struct Known {
    generation: Generation,
    buried: bool,
    absent: bool,
    keeps: bool,
}

fn known(connection: &Connection, vm: VmId) -> Sql<Option<Known>> {
    let mut statement = connection.prepare_cached("SELECT generation, buried, absent, keeps FROM vm WHERE id = ?1")?;
    first(&mut statement, [column::id(vm.bits())], |row| {
        Ok(Known {
            generation: Generation(column::unsigned(row, "generation")?),
            buried: row.get("buried")?,
            absent: row.get("absent")?,
            keeps: row.get("keeps")?,
        })
    })
}

fn row(connection: &Connection, vm: VmId) -> Sql<Option<JournalRow>> {
    let mut statement = connection.prepare_cached(&format!("{JOINED} WHERE vm.id = ?1"))?;
    first(&mut statement, [column::id(vm.bits())], journal_row)
}

fn rows(reader: &Connection, after: Option<VmId>, limit: usize) -> Sql<Vec<JournalRow>> {
    let sql = format!("{JOINED} WHERE NOT vm.buried AND vm.id > ?1 ORDER BY vm.id LIMIT ?2");
    let mut statement = reader.prepare_cached(&sql)?;
    // No id is the empty one, and every id comes after it.
    let after = after.map(|id| column::id(id.bits()).to_vec()).unwrap_or_default();
    all(&mut statement, (after, column::limit(limit)), journal_row)
}

fn journal_row(row: &Row<'_>) -> Sql<JournalRow> {
    Ok(JournalRow {
        entry: column::from_json(row, "entry")?,
        lease: lease::read(row)?,
        provisioned: row.get::<_, u32>("provisioned")?.checked_sub(1),
        outcome: column::optional_json(row, "outcome")?,
    })
}

fn accept(
    writer: &Connection,
    pool: (&LeasePool, UnixMillis),
    entry: &GoalEntry,
    secret: &AgentSecret,
) -> Sql<Accepted> {
    let absent = entry.goal.is_absent();
    let known = known(writer, entry.vm)?;
    match &known {
        Some(known) if known.buried && removes(known, entry) => {
            kept(writer, entry.vm)?;
            unbury(writer, entry)?;
            lease::lend(writer, pool, entry.vm, secret)?;
        }
        Some(known) if known.buried && absent => return Ok(Accepted::Gone),
        None if absent => return entomb(writer, entry),
        Some(known) if known.buried => {
            let message = format!("the vm {} was destroyed; its id is never used again", entry.vm);
            return Err(SqliteError::rule(ErrorKind::Conflict, "gone", message));
        }
        Some(known) if known.generation > entry.generation => {
            let message = format!("generation {} is older than what is known", entry.generation.0);
            return Err(SqliteError::rule(ErrorKind::Conflict, "stale_generation", message));
        }
        Some(known) if known.generation == entry.generation => {}
        Some(_) => update(writer, entry, absent)?,
        None => {
            if let Some(from) = entry.spec.data_from {
                kept(writer, from)?;
            }
            insert(writer, entry)?;
            lease::lend(writer, pool, entry.vm, secret)?;
        }
    }
    let row = row(writer, entry.vm)?.ok_or_else(|| SqliteError::row("lease", "a row without its lease"))?;
    Ok(Accepted::Row(Box::new(row)))
}

/// Whether an entry asks for the data disk to go that a tombstone keeps.
fn removes(known: &Known, entry: &GoalEntry) -> bool {
    entry.goal == Goal::ABSENT && known.keeps && known.generation < entry.generation
}

/// Whether the data disk of a VM that was destroyed can be had.
fn kept(writer: &Connection, from: VmId) -> Sql<()> {
    if !known(writer, from)?.is_some_and(|known| known.buried && known.keeps) {
        let message = format!("{from} left no data disk on this host");
        return Err(SqliteError::rule(ErrorKind::NotFound, "disk_unknown", message));
    }
    let mut statement = writer.prepare_cached("SELECT 1 FROM vm WHERE data_from = ?1")?;
    if first(&mut statement, [column::id(from.bits())], |_| Ok(()))?.is_some() {
        let message = format!("another vm has the data disk of {from}");
        return Err(SqliteError::rule(ErrorKind::Conflict, "disk_in_use", message));
    }
    Ok(())
}

/// A tombstone is a row again, until what it kept is gone.
fn unbury(writer: &Connection, entry: &GoalEntry) -> Sql<()> {
    let sql = "UPDATE vm SET buried = 0, keeps = 0, generation = ?2, absent = 1, entry = ?3 WHERE id = ?1";
    let generation = column::integer(entry.generation.0, "generation")?;
    writer.prepare_cached(sql)?.execute((column::id(entry.vm.bits()), generation, column::json(entry, "entry")?))?;
    Ok(())
}

/// A tombstone for a VM that never had a row. Where its short name is another's, that one keeps it from ever getting one.
fn entomb(writer: &Connection, entry: &GoalEntry) -> Sql<Accepted> {
    let sql = "INSERT INTO vm (id, short, generation, buried, absent, entry) VALUES (?1, ?2, ?3, 1, 1, NULL)
               ON CONFLICT (short) DO NOTHING";
    let generation = column::integer(entry.generation.0, "generation")?;
    writer.prepare_cached(sql)?.execute((column::id(entry.vm.bits()), entry.vm.short(), generation))?;
    Ok(Accepted::Gone)
}

fn insert(writer: &Connection, entry: &GoalEntry) -> Sql<()> {
    let sql = "INSERT INTO vm (id, short, generation, absent, entry, data_from) VALUES (?1, ?2, ?3, 0, ?4, ?5)";
    let generation = column::integer(entry.generation.0, "generation")?;
    let done = writer.prepare_cached(sql)?.execute((
        column::id(entry.vm.bits()),
        entry.vm.short(),
        generation,
        column::json(entry, "entry")?,
        entry.spec.data_from.map(|from| column::id(from.bits())),
    ));
    match done {
        Err(error) if error.to_string().contains("vm.short") => {
            let message = format!("the things of {} would have the names of another vm's; make a new id", entry.vm);
            Err(SqliteError::rule(ErrorKind::AlreadyExists, "short_taken", message))
        }
        other => Ok(other.map(|_| ())?),
    }
}

fn update(writer: &Connection, entry: &GoalEntry, absent: bool) -> Sql<()> {
    let sql = "UPDATE vm SET generation = ?2, absent = ?3, entry = ?4, outcome = NULL WHERE id = ?1";
    let generation = column::integer(entry.generation.0, "generation")?;
    let entry_json = column::json(entry, "entry")?;
    writer.prepare_cached(sql)?.execute((column::id(entry.vm.bits()), generation, absent, entry_json))?;
    Ok(())
}

fn provisioned(writer: &Connection, vm: VmId, turn: u32) -> Sql<()> {
    match known(writer, vm)? {
        Some(known) if !known.buried => {
            let mut statement =
                writer.prepare_cached("UPDATE vm SET provisioned = ?2 WHERE id = ?1 AND provisioned < ?2")?;
            statement.execute((column::id(vm.bits()), i64::from(turn) + 1))?;
            Ok(())
        }
        _ => Err(SqliteError::rule(ErrorKind::NotFound, "vm_unknown", format!("this host has no vm {vm}"))),
    }
}

fn settle(writer: &Connection, vm: VmId, generation: Generation, outcome: &Outcome) -> Sql<bool> {
    let Ok(generation) = i64::try_from(generation.0) else { return Ok(false) };
    let sql = "UPDATE vm SET outcome = ?3 WHERE id = ?1 AND generation = ?2 AND NOT buried";
    let outcome = column::json(outcome, "outcome")?;
    Ok(writer.prepare_cached(sql)?.execute((column::id(vm.bits()), generation, outcome))? == 1)
}

fn bury(writer: &Connection, vm: VmId, generation: Generation, now: UnixMillis) -> Sql<()> {
    match known(writer, vm)? {
        Some(known) if known.buried => Ok(()),
        Some(known) if known.absent && known.generation == generation => {
            let row = row(writer, vm)?.ok_or_else(|| SqliteError::row("lease", "a row without its lease"))?;
            let keeps = row.entry.goal != Goal::ABSENT && row.entry.spec.data.is_some();
            let from = row.entry.spec.data_from;
            lease::free(writer, vm, now)?;
            let sql =
                "UPDATE vm SET buried = 1, entry = NULL, outcome = NULL, data_from = NULL, keeps = ?2 WHERE id = ?1";
            writer.prepare_cached(sql)?.execute((column::id(vm.bits()), keeps && from.is_none()))?;
            if let Some(from) = from {
                let sql = "UPDATE vm SET keeps = ?2 WHERE id = ?1 AND buried";
                writer.prepare_cached(sql)?.execute((column::id(from.bits()), keeps))?;
            }
            Ok(())
        }
        _ => {
            let message = format!("{vm} is not to be absent at generation {}; read it and try again", generation.0);
            Err(SqliteError::rule(ErrorKind::Conflict, "changed_meanwhile", message))
        }
    }
}
