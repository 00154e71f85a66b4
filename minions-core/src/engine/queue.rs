//! One keyed work queue: a key is worked on once at a time, and a wake during the work is never lost.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::types::VmId;

#[derive(Debug)]
struct Slot {
    /// Woken while it was worked on.
    again: bool,
    /// Interrupts the waits of the work under way.
    interrupt: Arc<Notify>,
    task: Option<AbortHandle>,
}

#[derive(Default)]
struct State {
    slots: HashMap<VmId, Slot>,
    ended: bool,
}

/// Which VMs are worked on. A VM without work has no entry and no task.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    emptied: Notify,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("busy", &self.state().slots.len()).finish()
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work for a key is due. Starts it with `work`, or tells the work under way.
    pub(super) fn wake<F>(&self, vm: VmId, work: impl FnOnce(Arc<Notify>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.state();
        if state.ended {
            return;
        }
        if let Some(slot) = state.slots.get_mut(&vm) {
            slot.again = true;
            slot.interrupt.notify_one();
            return;
        }
        let interrupt = Arc::new(Notify::new());
        state.slots.insert(vm, Slot { again: false, interrupt: interrupt.clone(), task: None });
        let task = tokio::spawn(work(interrupt)).abort_handle();
        if let Some(slot) = state.slots.get_mut(&vm) {
            slot.task = Some(task);
        }
    }

    /// The work for a key is at its end: whether it must begin anew, for it was woken meanwhile.
    pub(super) fn finish(&self, vm: VmId) -> bool {
        let mut state = self.state();
        match state.slots.get_mut(&vm) {
            Some(slot) if slot.again => {
                slot.again = false;
                true
            }
            _ => {
                state.slots.remove(&vm);
                if state.slots.is_empty() {
                    self.emptied.notify_waiters();
                }
                false
            }
        }
    }

    /// Whether work for a key came while it was worked on.
    pub(super) fn is_woken(&self, vm: VmId) -> bool {
        self.state().slots.get(&vm).is_some_and(|slot| slot.again)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state().slots.is_empty()
    }

    pub(super) async fn idle(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.is_idle() {
                return;
            }
            emptied.await;
        }
    }

    /// Ends all work at once and takes no more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        for (_, slot) in state.slots.drain() {
            if let Some(task) = slot.task {
                task.abort();
            }
        }
        self.emptied.notify_waiters();
    }
}
