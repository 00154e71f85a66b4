//! Who waits for which operation. Nobody polls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::types::OperationId;

/// Waiting callers by operation.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<OperationId, Arc<Notify>>>);

/// One waiting caller; leaves the table when dropped.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    table: &'a Waiters,
    id: OperationId,
    notify: Arc<Notify>,
}

impl Waiters {
    fn table(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a caller, before it reads: what ends after that is not missed.
    pub(super) fn register(&self, id: OperationId) -> Waiter<'_> {
        let notify = self.table().entry(id).or_default().clone();
        Waiter { table: self, id, notify }
    }

    /// The operation has ended.
    pub(super) fn ended(&self, id: OperationId) {
        if let Some(notify) = self.table().get(&id) {
            notify.notify_waiters();
        }
    }
}

impl Waiter<'_> {
    pub(super) fn notify(&self) -> &Notify {
        &self.notify
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut table = self.table.table();
        // The table's own and this one: nobody else waits.
        if Arc::strong_count(&self.notify) <= 2 {
            table.remove(&self.id);
        }
    }
}
