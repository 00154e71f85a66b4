//! One database file: a writer that commits in groups, and a few readers.
//!
//! All of it runs on tokio's blocking threads, never on those of the runtime. There is at most one writing task: it takes
//! every change that is waiting into one transaction, each inside a savepoint of its own, and answers all of them after
//! the one commit. While a commit waits for the disk, the next group gathers.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::batch::{self, Call, Job};
use super::error::{Result, SqliteError};
use super::log;
use super::open::{self, Lock};
use super::read::Readers;
use super::schema::Schema;
use super::{backup, backup::Existing};
use crate::env::CallCx;
use crate::error::{Effect, Error};

/// Connections that read at the same time.
const READERS: usize = 2;

/// Changes in one transaction: bounds how long the first of them waits for the last.
const GROUP: usize = 256;

/// An open database; cheap to clone.
#[derive(Clone)]
pub(super) struct Database(Arc<Shared>);

struct Shared {
    path: PathBuf,
    schema: Schema,
    created: bool,
    queue: Mutex<Queue>,
    /// Set by a commit that may or may not be on the disk, cleared by one that is: until then nobody may read.
    doubtful: AtomicBool,
    commits: AtomicU64,
    readers: Readers,
    writer: Mutex<Option<Connection>>,
    /// Last, so that it is dropped after the connections.
    lock: Mutex<Option<Lock>>,
    #[cfg(test)]
    fail_next_commit: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Box<dyn Job>>,
    /// Somebody is on the way through the queue.
    draining: bool,
    closed: bool,
}

impl Database {
    pub(super) async fn open(path: PathBuf, schema: Schema) -> Result<Self> {
        let opened = tokio::task::spawn_blocking(move || {
            let opened = open::open(&path, &schema, READERS)?;
            Ok(Self(Arc::new(Shared {
                path,
                schema,
                created: opened.created,
                queue: Mutex::default(),
                doubtful: AtomicBool::new(false),
                commits: AtomicU64::new(0),
                readers: Readers::new(opened.readers),
                writer: Mutex::new(Some(opened.writer)),
                lock: Mutex::new(Some(opened.lock)),
                #[cfg(test)]
                fail_next_commit: AtomicBool::new(false),
            })))
        });
        opened.await.unwrap_or(Err(SqliteError::Gone))
    }

    /// Whether opening it made it.
    pub(super) fn created(&self) -> bool {
        self.0.created
    }

    /// Transactions that were committed, each of which waited for the disk once.
    pub(super) fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Relaxed)
    }

    /// Runs a change in a savepoint of the next group, and returns when the group is durable. What the change returns as
    /// an error is undone; the others in the group do not notice.
    pub(super) async fn write<T, W>(&self, cx: &CallCx, work: W) -> crate::Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        cx.bound(async { Ok(self.enqueue(work).await?) }).await
    }

    /// Runs a query on one of the readers.
    pub(super) async fn read<T, W>(&self, cx: &CallCx, work: W) -> crate::Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        cx.bound(async {
            if self.0.doubtful.load(Ordering::Acquire) {
                // Any commit settles the doubt.
                let settled = self.enqueue(|_| Ok(())).await;
                settled.map_err(|error| Error::from(error).with_effect(Effect::None))?;
            }
            Ok(self.0.readers.ask(self.0.clone(), work).await?)
        })
        .await
    }

    /// Copies the database to a new file and checks the copy. Changes go on meanwhile.
    pub(super) async fn backup_to(&self, to: PathBuf) -> crate::Result<()> {
        let schema = self.0.schema;
        let copy = move |reader: &Connection| {
            // To SQLite, the copy is a write.
            reader.pragma_update(None, "query_only", false)?;
            let written = backup::write(reader, &schema, &to, Existing::Refuse);
            reader.pragma_update(None, "query_only", true)?;
            written
        };
        Ok(self.0.readers.ask(self.0.clone(), copy).await?)
    }

    /// Waits for what was accepted, then closes the file and releases its lock. Later calls are refused; closing again
    /// does nothing.
    pub(super) async fn close(&self) -> crate::Result<()> {
        let drained = self.enqueue(|_| Ok(())).await;
        if std::mem::replace(&mut lock(&self.0.queue).closed, true) {
            return Ok(());
        }
        let readers = self.0.readers.close().await;
        let shared = self.0.clone();
        let closed = tokio::task::spawn_blocking(move || {
            drop(readers);
            drop(lock(&shared.writer).take());
            drop(lock(&shared.lock).take());
        });
        closed.await.map_err(|_| SqliteError::Gone)?;
        Ok(drained?)
    }

    async fn enqueue<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let lead = {
            let mut queue = lock(&self.0.queue);
            if queue.closed {
                return Err(SqliteError::Closed);
            }
            queue.waiting.push(Box::new(Call::new(work, reply)));
            !std::mem::replace(&mut queue.draining, true)
        };
        if lead {
            let drain = Drain(self.0.clone());
            tokio::task::spawn_blocking(move || drop(drain));
        }
        answer.await.unwrap_or(Err(SqliteError::Gone))
    }

    /// Does something to the writing connection, outside of any transaction.
    #[cfg(test)]
    pub(super) fn meddle(&self, with: impl FnOnce(&Connection)) {
        with(lock(&self.0.writer).as_ref().unwrap());
    }

    #[cfg(test)]
    pub(super) fn fail_next_commit(&self) {
        self.0.fail_next_commit.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Shared {
    fn commit(&self, mut group: Vec<Box<dyn Job>>) {
        // Nobody waits for these any more, and nothing of theirs has happened.
        group.retain(|job| !job.abandoned());
        if group.is_empty() {
            return;
        }
        let end = match lock(&self.writer).as_ref() {
            None => batch::End::Closed,
            Some(writer) => batch::run(writer, &mut group, self.doubtful.load(Ordering::Acquire), || {
                #[cfg(test)]
                if self.fail_next_commit.swap(false, Ordering::AcqRel) {
                    return writer.execute_batch("ROLLBACK; SELECT no_such_column");
                }
                writer.execute_batch("COMMIT")
            }),
        };
        let end = self.settled(end);
        match &end {
            batch::End::Durable { committed: true } => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.doubtful.store(false, Ordering::Release);
            }
            batch::End::Unknown(refusal) => {
                tracing::error!(path = %self.path.display(), error = %refusal.text, "a commit may or may not be durable");
                self.doubtful.store(true, Ordering::Release);
            }
            _ => {}
        }
        for job in group {
            job.answer(&end);
        }
    }
}

impl Shared {
    /// A commit that found no room has not happened, once what it may have left is cut off. So a full disk leaves no
    /// doubt, and reads go on; any other failure does, until the next commit.
    fn settled(&self, end: batch::End) -> batch::End {
        let batch::End::Unknown(refusal) = end else { return end };
        if refusal.code != Some(rusqlite::ErrorCode::DiskFull) || self.doubtful.load(Ordering::Acquire) {
            return batch::End::Unknown(refusal);
        }
        let cut = match lock(&self.writer).as_ref() {
            Some(writer) => log::cut(writer, &self.path),
            None => return batch::End::Unknown(refusal),
        };
        match cut {
            Ok(()) => batch::End::RolledBack(refusal),
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "what a commit without room has left is not cut off");
                batch::End::Unknown(refusal)
            }
        }
    }
}

/// The one task that writes. Where its runtime ends before it begins, it does its work while it is dropped: nobody waits
/// for a task that never comes.
struct Drain(Arc<Shared>);

impl Drop for Drain {
    fn drop(&mut self) {
        loop {
            let group = {
                let mut queue = lock(&self.0.queue);
                if queue.waiting.is_empty() {
                    queue.draining = false;
                    return;
                }
                let take = queue.waiting.len().min(GROUP);
                queue.waiting.drain(..take).collect()
            };
            self.0.commit(group);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
