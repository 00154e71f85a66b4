//! Stores whose calls end before they return to the runtime: the order of calls then follows from the seed alone, and a
//! paused clock does not run on while a file is being written.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use async_trait::async_trait;
use minions_core::Result;
use minions_core::env::CallCx;
use minions_core::store::{
    Accepted, Event, EventQuery, FleetChange, FleetStore, GoalEntry, Journal, JournalRow, OperationRow, Outcome, Owner,
    Prune, Pruned, Tombstone, VmQuery, VmRow,
};
use minions_core::types::{AgentSecret, EventSeq, Generation, OperationId, VmId, VmName};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub fn block<T>(work: impl Future<Output = T>) -> T {
    // Whoever has used up their turn would be woken by a runtime that waits for this very call.
    let mut work = pin!(tokio::task::unconstrained(work));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[derive(Debug)]
pub struct Inline<P>(pub Arc<P>);

#[async_trait]
impl<P: FleetStore> FleetStore for Inline<P> {
    async fn commit(&self, cx: &CallCx, change: &FleetChange) -> Result<EventSeq> {
        block(self.0.commit(cx, change))
    }
    async fn vm(&self, cx: &CallCx, id: VmId) -> Result<Option<VmRow>> {
        block(self.0.vm(cx, id))
    }
    async fn vm_by_name(&self, cx: &CallCx, name: &VmName) -> Result<Option<VmRow>> {
        block(self.0.vm_by_name(cx, name))
    }
    async fn vms(&self, cx: &CallCx, query: &VmQuery) -> Result<Vec<VmRow>> {
        block(self.0.vms(cx, query))
    }
    async fn operation(&self, cx: &CallCx, id: OperationId) -> Result<Option<OperationRow>> {
        block(self.0.operation(cx, id))
    }
    async fn operation_by_key(&self, cx: &CallCx, owner: &Owner, key: &str) -> Result<Option<OperationRow>> {
        block(self.0.operation_by_key(cx, owner, key))
    }
    async fn pending_operations(&self, cx: &CallCx, vm: VmId) -> Result<Vec<OperationRow>> {
        block(self.0.pending_operations(cx, vm))
    }
    async fn events(&self, cx: &CallCx, query: &EventQuery) -> Result<Vec<Event>> {
        block(self.0.events(cx, query))
    }
    async fn last_event(&self, cx: &CallCx) -> Result<EventSeq> {
        block(self.0.last_event(cx))
    }
    async fn prune(&self, cx: &CallCx, prune: &Prune) -> Result<Pruned> {
        block(self.0.prune(cx, prune))
    }
}

#[async_trait]
impl<P: Journal> Journal for Inline<P> {
    async fn accept(&self, cx: &CallCx, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted> {
        block(self.0.accept(cx, entry, secret))
    }
    async fn row(&self, cx: &CallCx, vm: VmId) -> Result<Option<JournalRow>> {
        block(self.0.row(cx, vm))
    }
    async fn rows(&self, cx: &CallCx, after: Option<VmId>, limit: usize) -> Result<Vec<JournalRow>> {
        block(self.0.rows(cx, after, limit))
    }
    async fn provisioned(&self, cx: &CallCx, vm: VmId, turn: u32) -> Result<()> {
        block(self.0.provisioned(cx, vm, turn))
    }
    async fn settle(&self, cx: &CallCx, vm: VmId, generation: Generation, outcome: &Outcome) -> Result<bool> {
        block(self.0.settle(cx, vm, generation, outcome))
    }
    async fn bury(&self, cx: &CallCx, vm: VmId, generation: Generation) -> Result<()> {
        block(self.0.bury(cx, vm, generation))
    }
    async fn tombstone(&self, cx: &CallCx, vm: VmId) -> Result<Option<Tombstone>> {
        block(self.0.tombstone(cx, vm))
    }
}
