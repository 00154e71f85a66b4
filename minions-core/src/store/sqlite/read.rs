//! Queries stand in line for one of a few connections.
//!
//! Whoever finds a connection idle sends it to a blocking thread, where it works through the line until nobody is left:
//! many queries at a time cost one hop to a thread, not one each.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::{Notify, oneshot};

use super::error::{Result, SqliteError};

type Query = Box<dyn FnOnce(&Connection) + Send>;

/// Connections that read, and who waits for one.
#[derive(Clone)]
pub(super) struct Readers(Arc<Line>);

struct Line {
    state: Mutex<State>,
    rested: Notify,
}

struct State {
    idle: Vec<Connection>,
    busy: usize,
    waiting: VecDeque<Query>,
    closed: bool,
}

impl Readers {
    pub(super) fn new(idle: Vec<Connection>) -> Self {
        let state = State { idle, busy: 0, waiting: VecDeque::new(), closed: false };
        Self(Arc::new(Line { state: Mutex::new(state), rested: Notify::new() }))
    }

    /// Runs a query when its turn comes. One that nobody waits for any more is left out. `keep` lives for as long as a
    /// connection is on its way.
    pub(super) async fn ask<T, W, K>(&self, keep: K, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
        K: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let query = move |reader: &Connection| {
            if !reply.is_closed() {
                // Whoever stops waiting meanwhile wants no answer.
                let _ =
                    reply.send(catch_unwind(AssertUnwindSafe(|| work(reader))).unwrap_or(Err(SqliteError::Panicked)));
            }
        };
        let reader = {
            let mut state = self.0.state();
            if state.closed {
                return Err(SqliteError::Closed);
            }
            state.waiting.push_back(Box::new(query));
            let reader = state.idle.pop();
            state.busy += usize::from(reader.is_some());
            reader
        };
        if let Some(reader) = reader {
            let turn = Turn { line: self.0.clone(), reader: Some(reader), _keep: keep };
            tokio::task::spawn_blocking(move || drop(turn));
        }
        answer.await.unwrap_or(Err(SqliteError::Gone))
    }

    /// Turns away who comes from now on, waits for those in line, and gives the connections back.
    pub(super) async fn close(&self) -> Vec<Connection> {
        self.0.state().closed = true;
        loop {
            let rested = self.0.rested.notified();
            tokio::pin!(rested);
            rested.as_mut().enable();
            {
                let mut state = self.0.state();
                if state.busy == 0 {
                    return std::mem::take(&mut state.idle);
                }
            }
            rested.await;
        }
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection on its way through the line. It works while it is dropped: where its runtime ends before it begins,
/// nobody waits for a query that is never run.
struct Turn<K> {
    line: Arc<Line>,
    reader: Option<Connection>,
    /// Last, so that it is dropped after the connection.
    _keep: K,
}

impl<K> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        loop {
            let query = {
                let mut state = self.line.state();
                let Some(query) = state.waiting.pop_front() else {
                    state.idle.push(reader);
                    state.busy -= 1;
                    break;
                };
                query
            };
            query(&reader);
        }
        self.line.rested.notify_waiters();
    }
}
