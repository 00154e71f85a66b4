//! Which database a file is, and the way from every older version of it to the newest.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::backup;
use super::error::{Result, SqliteError};

/// One kind of database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    /// Written into the file's header: another program's database is never touched.
    pub application_id: i32,
    /// The n-th brings version n to version n + 1. Only ever appended to.
    pub migrations: &'static [&'static str],
}

impl Schema {
    /// The version that this program writes.
    pub(super) fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }

    /// Refuses what is not ours or too new, before anything is written. Returns whether the file is still empty.
    pub(super) fn check(&self, connection: &Connection, path: &Path) -> Result<bool> {
        let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version = user_version(connection)?;
        if objects == 0 && application == 0 && version == 0 {
            return Ok(true);
        }
        if application != self.application_id {
            return Err(SqliteError::Foreign { path: path.to_owned() });
        }
        if version > self.version() {
            return Err(SqliteError::NewerSchema { path: path.to_owned(), found: version, known: self.version() });
        }
        Ok(false)
    }

    /// Brings the file to the newest version, in one transaction. An older file is backed up beside itself first.
    pub(super) fn migrate(&self, connection: &mut Connection, path: &Path, empty: bool) -> Result<()> {
        let from = user_version(connection)?;
        if from == self.version() {
            return Ok(());
        }
        if !empty {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".v{from}.bak"));
            backup::write(connection, self, Path::new(&name), backup::Existing::Replace)?;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let skip = usize::try_from(from).unwrap_or(0);
        for migration in self.migrations.iter().skip(skip) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", self.application_id)?;
        transaction.pragma_update(None, "user_version", self.version())?;
        transaction.commit().map_err(|error| SqliteError::Commit(error.into()))
    }
}

pub(super) fn user_version(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}
