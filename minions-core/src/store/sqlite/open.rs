//! Opening a database file: one process at a time, with the settings that make an answer durable.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Result, SqliteError};
use super::schema::Schema;

/// Held for as long as the database is open. The file stays; only the lock on it counts.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing it releases the lock")] File);

/// What [`open`] made.
pub(super) struct Opened {
    pub lock: Lock,
    pub writer: Connection,
    pub readers: Vec<Connection>,
    /// There was no database before.
    pub created: bool,
}

/// Statements that a connection keeps prepared: more than there are in the adapter.
const CACHED_STATEMENTS: usize = 64;

pub(super) fn open(path: &Path, schema: &Schema, readers: usize) -> Result<Opened> {
    let lock = lock(path)?;
    if !path.try_exists().map_err(|source| failed("look for", path, source))? {
        create_private(path)?;
        sync_folder(path)?;
    }
    let examined = connect(path).and_then(|writer| {
        let created = schema.check(&writer, path)?;
        let finding = if created { "ok".to_owned() } else { quick_check(&writer)? };
        Ok((writer, created, finding))
    });
    // Damage is found before anything is written on top of it.
    let (mut writer, created) = match examined {
        Ok((writer, created, finding)) if finding == "ok" => (writer, created),
        Ok((_, _, finding)) => {
            return Err(SqliteError::Corrupt { path: path.to_owned(), finding: finding.replace('\n', " ") });
        }
        Err(SqliteError::Sql(error)) => return Err(unreadable(error, path)),
        Err(other) => return Err(other),
    };
    let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(failed("write ahead in", path, std::io::Error::other("the file system cannot share memory maps")));
    }
    schema.migrate(&mut writer, path, created)?;
    let readers = (0..readers)
        .map(|_| {
            let reader = connect(path)?;
            reader.pragma_update(None, "query_only", true)?;
            Ok(reader)
        })
        .collect::<Result<_>>()?;
    Ok(Opened { lock, writer, readers, created })
}

/// The first three make an answer durable. The last three are about the work of a group: what would undo one of its
/// changes stays in memory, a page goes into the log once and at the end, and into the database once for many groups.
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_spill = OFF;
         PRAGMA wal_autocheckpoint = 4000;",
    )?;
    Ok(connection)
}

fn quick_check(connection: &Connection) -> Result<String> {
    Ok(connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?)
}

fn unreadable(error: rusqlite::Error, path: &Path) -> SqliteError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => SqliteError::Foreign { path: path.to_owned() },
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            SqliteError::Corrupt { path: path.to_owned(), finding: error.to_string() }
        }
        _ => SqliteError::Sql(error),
    }
}

fn lock(path: &Path) -> Result<Lock> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private(&mut options);
    let file = options.open(&name).map_err(|source| failed("open", &name, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(SqliteError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &name, source)),
    }
}

/// An empty file that only its owner may read.
pub(super) fn create_private(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    let file = options.open(path).map_err(|source| failed("create", path, source))?;
    file.sync_all().map_err(|source| failed("sync", path, source))
}

fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Makes a new name durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| failed("sync", folder, source))
}

fn failed(what: &'static str, path: &Path, source: std::io::Error) -> SqliteError {
    SqliteError::Io { what, path: path.to_owned(), source }
}
