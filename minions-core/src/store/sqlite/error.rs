//! What can go wrong with a database file, and how it reads to everyone else.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::batch::Refusal;
use crate::error::{Effect, Error, ErrorKind};

pub(super) type Result<T, E = SqliteError> = std::result::Result<T, E>;

/// Private to the adapter; the rest of the crate sees [`Error`].
#[derive(Debug, thiserror::Error)]
pub(super) enum SqliteError {
    /// A rule of the contract was broken; it is told as it is.
    #[error(transparent)]
    Rule(Error),
    #[error("the database refused a statement")]
    Sql(#[from] rusqlite::Error),
    /// The transaction of the whole batch was rolled back before its commit.
    #[error("the transaction was rolled back: {}", .0.text)]
    RolledBack(Refusal),
    /// The commit itself failed: what the disk holds is not known.
    #[error("the commit failed: {}", .0.text)]
    Commit(Refusal),
    #[error("cannot {what} {path}", path = path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} is in use by another daemon; stop that one, or give this one a folder of its own", path = path.display())]
    InUse { path: PathBuf },
    #[error(
        "{path} has schema version {found}, and this program knows versions up to {known}; \
         run the program that wrote it or a newer one, or restore the backup made before the upgrade",
        path = path.display()
    )]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    #[error("{path} is not a database of this program; move it away, or give another path", path = path.display())]
    Foreign { path: PathBuf },
    #[error("{path} is damaged ({finding}); restore a backup, nothing was changed", path = path.display())]
    Corrupt { path: PathBuf, finding: String },
    #[error("a stored row cannot be read: {column}")]
    Row { column: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path} exists already; a backup never replaces a file", path = path.display())]
    BackupExists { path: PathBuf },
    #[error("the backup did not verify: {finding}")]
    BackupBad { finding: String },
    #[error("the change ran into a bug of the store; it was undone")]
    Panicked,
    #[error("the store is closed")]
    Closed,
    #[error("the store stopped in the middle of the call")]
    Gone,
}

impl SqliteError {
    /// A broken rule of the contract.
    pub(super) fn rule(
        kind: ErrorKind,
        reason: &'static str,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self::Rule(Error::new(kind, message).with_reason(reason))
    }

    pub(super) fn row(column: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Row { column, source: source.into() }
    }
}

/// Kind and reason of a failure of the database itself. All but our own mistakes are `Unavailable`: running VMs and
/// their routes do not depend on the store, and nobody may conclude anything from what it does not say.
fn classify(code: Option<ErrorCode>) -> (ErrorKind, &'static str) {
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (ErrorKind::Unavailable, "store_busy"),
        Some(ErrorCode::DiskFull) => (ErrorKind::Unavailable, "store_full"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (ErrorKind::Unavailable, "store_read_only"),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::FileLockingProtocolFailed) => {
            (ErrorKind::Unavailable, "store_io")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (ErrorKind::Unavailable, "store_corrupt"),
        Some(ErrorCode::OutOfMemory) => (ErrorKind::Unavailable, "store_memory"),
        _ => (ErrorKind::Internal, "store_bug"),
    }
}

impl From<SqliteError> for Error {
    fn from(error: SqliteError) -> Self {
        use ErrorKind::{AlreadyExists, Conflict, Denied, Unavailable};
        let error = match error {
            SqliteError::Rule(rule) => return rule,
            other => other,
        };
        let (kind, reason) = match &error {
            SqliteError::Rule(_) | SqliteError::Panicked => (ErrorKind::Internal, "store_bug"),
            SqliteError::Sql(cause) => classify(cause.sqlite_error_code()),
            SqliteError::RolledBack(refusal) | SqliteError::Commit(refusal) => classify(refusal.code),
            SqliteError::Io { .. } => (Unavailable, "store_io"),
            SqliteError::InUse { .. } => (Conflict, "store_in_use"),
            SqliteError::NewerSchema { .. } => (Denied, "store_newer"),
            SqliteError::Foreign { .. } => (Denied, "store_foreign"),
            SqliteError::Corrupt { .. } | SqliteError::Row { .. } => (Unavailable, "store_corrupt"),
            SqliteError::BackupExists { .. } => (AlreadyExists, "backup_exists"),
            SqliteError::BackupBad { .. } => (Unavailable, "store_corrupt"),
            SqliteError::Closed | SqliteError::Gone => (Unavailable, "store_closed"),
        };
        let effect = match error {
            SqliteError::Commit(_) | SqliteError::Gone => Effect::Unknown,
            _ => Effect::None,
        };
        let message = error.to_string();
        let plain = Error::new(kind, message).with_reason(reason).with_effect(effect);
        match error {
            SqliteError::Sql(cause) => plain.with_source(cause),
            SqliteError::Io { source, .. } => plain.with_source(source),
            SqliteError::Row { source, .. } => plain.with_source(source),
            _ => plain,
        }
    }
}
