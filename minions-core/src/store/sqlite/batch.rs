//! One transaction for many callers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::error::{Result, SqliteError};

/// A change that waits for the next transaction.
pub(super) trait Job: Send {
    /// Whether nobody waits for the answer.
    fn abandoned(&self) -> bool;
    /// Does it. Whether its effects are to be kept.
    fn run(&mut self, writer: &Connection) -> bool;
    /// What the database said, where it refused.
    fn refusal(&self) -> Option<Refusal>;
    /// Tells how it and its transaction ended.
    fn answer(self: Box<Self>, end: &End);
}

/// What the database said.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub code: Option<ErrorCode>,
    pub text: String,
}

impl From<&rusqlite::Error> for Refusal {
    fn from(error: &rusqlite::Error) -> Self {
        Self { code: error.sqlite_error_code(), text: error.to_string() }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::from(&error)
    }
}

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum End {
    /// All that was kept is durable. `committed` says whether there was anything.
    Durable { committed: bool },
    /// Nothing of it was kept.
    RolledBack(Refusal),
    /// It may or may not be on the disk.
    Unknown(Refusal),
    /// There is no database any more.
    Closed,
}

/// A [`Job`] from a closure.
pub(super) struct Call<T, W> {
    work: Option<W>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Call<T, W> {
    pub(super) fn new(work: W, reply: oneshot::Sender<Result<T>>) -> Self {
        Self { work: Some(work), outcome: None, reply }
    }
}

impl<T, W> Job for Call<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<T> + Send,
{
    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, writer: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A bug in one change is that caller's to hear of; what it did is undone like any other failure.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(writer))).unwrap_or(Err(SqliteError::Panicked));
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn refusal(&self) -> Option<Refusal> {
        match &self.outcome {
            Some(Err(SqliteError::Sql(error))) => Some(error.into()),
            _ => None,
        }
    }

    fn answer(self: Box<Self>, end: &End) {
        let kept = matches!(self.outcome, Some(Ok(_)));
        let answer = match end {
            End::Durable { .. } => self.outcome.unwrap_or(Err(SqliteError::Gone)),
            // What it was told about the others may never have been true, but of its own nothing happened.
            End::Unknown(refusal) if kept => Err(SqliteError::Commit(refusal.clone())),
            End::Unknown(refusal) | End::RolledBack(refusal) => Err(SqliteError::RolledBack(refusal.clone())),
            End::Closed => Err(SqliteError::Closed),
        };
        // Whoever stopped waiting reads later what became of it.
        let _ = self.reply.send(answer);
    }
}

/// Runs a group in one transaction, and ends it with `commit` if there is anything to keep or `must` says so.
pub(super) fn run(
    writer: &Connection,
    group: &mut [Box<dyn Job>],
    must: bool,
    commit: impl FnOnce() -> rusqlite::Result<()>,
) -> End {
    let mut changed = must;
    if let Err(refusal) = execute(writer, group, &mut changed) {
        roll_back(writer);
        return End::RolledBack(refusal);
    }
    if !changed {
        roll_back(writer);
        return End::Durable { committed: false };
    }
    match commit() {
        Ok(()) => End::Durable { committed: true },
        Err(error) => {
            roll_back(writer);
            End::Unknown(error.into())
        }
    }
}

fn execute(writer: &Connection, group: &mut [Box<dyn Job>], changed: &mut bool) -> Result<(), Refusal> {
    // Left over by a job that panicked.
    roll_back(writer);
    writer.execute_batch("BEGIN IMMEDIATE")?;
    if *changed {
        touch(writer)?;
    }
    for job in group {
        writer.prepare_cached("SAVEPOINT job")?.execute([])?;
        let before = writer.total_changes();
        let keep = job.run(writer);
        if writer.is_autocommit() {
            // After some errors, such as a full disk, SQLite gives up the transaction by itself.
            let unsaid = || Refusal { code: None, text: "the database gave up the transaction".to_owned() };
            return Err(job.refusal().unwrap_or_else(unsaid));
        }
        if keep {
            *changed |= writer.total_changes() != before;
        } else {
            writer.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        writer.prepare_cached("RELEASE job")?.execute([])?;
    }
    Ok(())
}

/// A write that says nothing: its commit overwrites what a doubtful one may have left behind the end of the log.
fn touch(writer: &Connection) -> rusqlite::Result<()> {
    let version: i64 = writer.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    writer.pragma_update(None, "user_version", version)
}

fn roll_back(writer: &Connection) {
    if !writer.is_autocommit() {
        // Fails only where SQLite has rolled back by itself.
        let _ = writer.execute_batch("ROLLBACK");
    }
}
