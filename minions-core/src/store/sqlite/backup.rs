//! A copy of a live database that was opened and checked before it got its name.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::{Result, SqliteError};
use super::open;
use super::schema::Schema;

/// What to do where the destination exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// What people ask for never replaces a file.
    Refuse,
    /// The backup before a migration replaces that of an attempt which failed.
    Replace,
}

/// Copies what the connection sees now, checks the copy, and gives it its name last.
pub(super) fn write(connection: &Connection, schema: &Schema, to: &Path, existing: Existing) -> Result<()> {
    if existing == Existing::Refuse && to.try_exists().map_err(|source| failed("look for", to, source))? {
        return Err(SqliteError::BackupExists { path: to.to_owned() });
    }
    let part = part_of(to);
    remove(&part)?;
    let written = copy(connection, schema, &part).and_then(|()| {
        std::fs::rename(&part, to).map_err(|source| failed("publish", to, source))?;
        open::sync_folder(to)
    });
    if written.is_err() {
        // The half copy is of no use; the first error is the one to tell.
        let _ = std::fs::remove_file(&part);
    }
    written
}

fn copy(connection: &Connection, schema: &Schema, part: &Path) -> Result<()> {
    // Made first, so that it is never readable by others: it holds secrets.
    open::create_private(part)?;
    let text = part.to_str().ok_or_else(|| {
        failed("write", part, std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8"))
    })?;
    connection.execute("VACUUM INTO ?1", [text])?;
    std::fs::File::open(part).and_then(|file| file.sync_all()).map_err(|source| failed("sync", part, source))?;
    verify(connection, schema, part)
}

fn verify(original: &Connection, schema: &Schema, part: &Path) -> Result<()> {
    let copy = Connection::open_with_flags(part, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let finding: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if finding != "ok" {
        return Err(SqliteError::BackupBad { finding });
    }
    let application: i32 = copy.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version = super::schema::user_version(&copy)?;
    if application != schema.application_id || version != super::schema::user_version(original)? {
        return Err(SqliteError::BackupBad { finding: "its header differs".to_owned() });
    }
    Ok(())
}

fn part_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path, source)),
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path, source: std::io::Error) -> SqliteError {
    SqliteError::Io { what, path: path.to_owned(), source }
}
