//! What people asked for, in SQLite.

use std::path::PathBuf;

use async_trait::async_trait;

use super::database::Database;
use super::schema::Schema;
use super::{fleet_prune, fleet_read, fleet_write, people};
use crate::env::CallCx;
use crate::error::Result;
use crate::store::fleet::{Event, EventQuery, FleetChange, FleetStore, OperationRow, Owner, VmQuery, VmRow};
use crate::store::people::{AuditRow, KeyRow, People, TokenRow, UserRow};
use crate::store::retention::{Prune, Pruned};
use crate::types::{EventSeq, KeyPrint, OperationId, TokenHash, VmId, VmName};

/// A tombstone is a row of `vm` that has a `deleted`.
const VERSION_1: &str = "
CREATE TABLE vm (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    spec TEXT NOT NULL,
    memory INTEGER NOT NULL,
    disk INTEGER NOT NULL,
    goal TEXT NOT NULL,
    generation INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    failure TEXT,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    deleted INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX vm_live_name ON vm (name) WHERE deleted IS NULL;
CREATE INDEX vm_dead_name ON vm (name, deleted) WHERE deleted IS NOT NULL;
CREATE INDEX vm_owner ON vm (owner, id);
CREATE INDEX vm_quota ON vm (owner, memory, disk) WHERE deleted IS NULL;
CREATE INDEX vm_unsettled ON vm (id) WHERE settled < generation;

CREATE TABLE operation (
    place INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    verb TEXT NOT NULL,
    vm BLOB NOT NULL CHECK (length(vm) = 16),
    owner TEXT NOT NULL,
    generation INTEGER NOT NULL,
    key TEXT,
    key_hash BLOB CHECK (length(key_hash) = 32),
    pending INTEGER NOT NULL,
    state TEXT NOT NULL,
    marks TEXT NOT NULL,
    created INTEGER NOT NULL,
    ended INTEGER,
    CHECK ((key IS NULL) = (key_hash IS NULL))
) STRICT;
CREATE UNIQUE INDEX operation_key ON operation (owner, key) WHERE key IS NOT NULL;
CREATE INDEX operation_pending ON operation (vm, place) WHERE pending;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    vm BLOB NOT NULL CHECK (length(vm) = 16),
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL
) STRICT;
";

/// What is forgotten is found without looking at what is kept. An operation that is pending is in neither.
const VERSION_2: &str = "
CREATE INDEX operation_keyed ON operation (ended) WHERE key IS NOT NULL AND ended IS NOT NULL;
CREATE INDEX operation_free ON operation (place, ended) WHERE key IS NULL AND NOT pending;
";

/// An owner's events are found without looking at anybody else's. To SQLite, the place is part of every index.
const VERSION_3: &str = "
CREATE INDEX event_owner ON event (owner);
";

/// A tombstone may keep a data disk, which counts.
const VERSION_4: &str = "
ALTER TABLE vm ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
CREATE INDEX vm_kept ON vm (owner, id, disk) WHERE kept;
";

/// Who may reach a VM besides its owner.
const VERSION_5: &str = "
ALTER TABLE vm ADD COLUMN access TEXT NOT NULL DEFAULT '{}';
";

/// People, and what they did. What was told of that is never unsaid.
const VERSION_6: &str = "
CREATE TABLE user (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    quota TEXT,
    disabled INTEGER NOT NULL,
    created INTEGER NOT NULL,
    deleted INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE user_key (
    print BLOB PRIMARY KEY CHECK (length(print) = 32),
    user TEXT NOT NULL REFERENCES user (name),
    line TEXT NOT NULL,
    label TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX user_key_user ON user_key (user, created);

CREATE TABLE token (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    user TEXT NOT NULL REFERENCES user (name),
    label TEXT NOT NULL,
    scope TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX token_user ON token (user, id);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    entry TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'an audit log only grows'); END;
CREATE TRIGGER audit_stands BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'an audit log only grows'); END;
";

pub(super) const SCHEMA: Schema = Schema {
    application_id: 0x6d6e_666c,
    migrations: &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6],
};

/// A [`FleetStore`] in one SQLite file.
///
/// Calls need a tokio runtime, on whose blocking threads all of the work is done.
#[derive(Clone, Debug)]
pub struct SqliteFleet(pub(super) Database);

impl SqliteFleet {
    /// Opens the file, or makes it in a folder that exists. Beside it lie `-wal`, `-shm` and `.lock`.
    ///
    /// # Errors
    /// `Conflict` reason `store_in_use` where another process has it, `Denied` reason `store_newer` or `store_foreign`
    /// where it is not for this program, `Unavailable` reason `store_corrupt` where it is damaged.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self(Database::open(path.into(), SCHEMA).await?))
    }

    /// Whether [`open`](Self::open) made the file: then it knows of nothing, and nothing may be concluded from that.
    #[must_use]
    pub fn created(&self) -> bool {
        self.0.created()
    }

    /// Transactions committed since it was opened, each of which waited for the disk once.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.0.commits()
    }

    /// Copies the database, while it is in use, to a file that does not exist yet; the copy is opened and checked before
    /// it gets its name.
    pub async fn backup_to(&self, path: impl Into<PathBuf>) -> Result<()> {
        self.0.backup_to(path.into()).await
    }

    /// Waits for the changes that were accepted, closes the file and releases its lock. Later calls are `Unavailable`.
    pub async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

#[async_trait]
impl FleetStore for SqliteFleet {
    async fn commit(&self, cx: &CallCx, change: &FleetChange) -> Result<EventSeq> {
        let change = change.clone();
        self.0.write(cx, move |writer| fleet_write::commit(writer, &change)).await
    }

    async fn vm(&self, cx: &CallCx, id: VmId) -> Result<Option<VmRow>> {
        self.0.read(cx, move |reader| fleet_read::vm(reader, id)).await
    }

    async fn vm_by_name(&self, cx: &CallCx, name: &VmName) -> Result<Option<VmRow>> {
        let name = name.clone();
        self.0.read(cx, move |reader| fleet_read::vm_by_name(reader, &name)).await
    }

    async fn vms(&self, cx: &CallCx, query: &VmQuery) -> Result<Vec<VmRow>> {
        let query = query.clone();
        self.0.read(cx, move |reader| fleet_read::vms(reader, &query)).await
    }

    async fn operation(&self, cx: &CallCx, id: OperationId) -> Result<Option<OperationRow>> {
        self.0.read(cx, move |reader| fleet_read::operation(reader, id)).await
    }

    async fn operation_by_key(&self, cx: &CallCx, owner: &Owner, key: &str) -> Result<Option<OperationRow>> {
        let (owner, key) = (owner.clone(), key.to_owned());
        self.0.read(cx, move |reader| fleet_read::operation_by_key(reader, &owner, &key)).await
    }

    async fn pending_operations(&self, cx: &CallCx, vm: VmId) -> Result<Vec<OperationRow>> {
        self.0.read(cx, move |reader| fleet_read::pending_operations(reader, vm)).await
    }

    async fn events(&self, cx: &CallCx, query: &EventQuery) -> Result<Vec<Event>> {
        let query = query.clone();
        self.0.read(cx, move |reader| fleet_read::events(reader, &query)).await
    }

    async fn last_event(&self, cx: &CallCx) -> Result<EventSeq> {
        self.0.read(cx, fleet_read::last_event).await
    }

    async fn prune(&self, cx: &CallCx, prune: &Prune) -> Result<Pruned> {
        let prune = *prune;
        self.0.write(cx, move |writer| fleet_prune::prune(writer, &prune)).await
    }
}

#[async_trait]
impl People for SqliteFleet {
    async fn user(&self, cx: &CallCx, name: &Owner) -> Result<Option<UserRow>> {
        let name = name.clone();
        self.0.read(cx, move |reader| people::user(reader, &name)).await
    }

    async fn users(&self, cx: &CallCx, after: Option<&Owner>, limit: usize) -> Result<Vec<UserRow>> {
        let after = after.cloned();
        self.0.read(cx, move |reader| people::users(reader, after.as_ref(), limit)).await
    }

    async fn key(&self, cx: &CallCx, print: &KeyPrint) -> Result<Option<(KeyRow, UserRow)>> {
        let print = *print;
        self.0.read(cx, move |reader| people::key(reader, &print)).await
    }

    async fn keys(&self, cx: &CallCx, user: &Owner) -> Result<Vec<KeyRow>> {
        let user = user.clone();
        self.0.read(cx, move |reader| people::keys(reader, &user)).await
    }

    async fn token(&self, cx: &CallCx, hash: &TokenHash) -> Result<Option<(TokenRow, UserRow)>> {
        let hash = *hash;
        self.0.read(cx, move |reader| people::token(reader, &hash)).await
    }

    async fn tokens(&self, cx: &CallCx, user: &Owner) -> Result<Vec<TokenRow>> {
        let user = user.clone();
        self.0.read(cx, move |reader| people::tokens(reader, &user)).await
    }

    async fn audit(&self, cx: &CallCx, after: u64, limit: usize) -> Result<Vec<AuditRow>> {
        self.0.read(cx, move |reader| people::audit(reader, after, limit)).await
    }
}
