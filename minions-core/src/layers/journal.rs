//! Forwards the port Journal.

use async_trait::async_trait;

use super::{Layered, forward};
use crate::env::CallCx;
use crate::error::Result;
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, Outcome, Tombstone};
use crate::types::{AgentSecret, Generation, VmId};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Journal + ?Sized> Journal for Layered<P> {
    async fn accept(&self, cx: &CallCx, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted> {
        forward!(self, cx, Change, "journal.accept", Some(entry.vm), accept(entry, secret))
    }

    async fn row(&self, cx: &CallCx, vm: VmId) -> Result<Option<JournalRow>> {
        forward!(self, cx, Read, "journal.row", Some(vm), row(vm))
    }

    async fn rows(&self, cx: &CallCx, after: Option<VmId>, limit: usize) -> Result<Vec<JournalRow>> {
        forward!(self, cx, Read, "journal.rows", None, rows(after, limit))
    }

    async fn provisioned(&self, cx: &CallCx, vm: VmId, turn: u32) -> Result<()> {
        forward!(self, cx, Change, "journal.provisioned", Some(vm), provisioned(vm, turn))
    }

    async fn settle(&self, cx: &CallCx, vm: VmId, generation: Generation, outcome: &Outcome) -> Result<bool> {
        forward!(self, cx, Change, "journal.settle", Some(vm), settle(vm, generation, outcome))
    }

    async fn bury(&self, cx: &CallCx, vm: VmId, generation: Generation) -> Result<()> {
        forward!(self, cx, Change, "journal.bury", Some(vm), bury(vm, generation))
    }

    async fn tombstone(&self, cx: &CallCx, vm: VmId) -> Result<Option<Tombstone>> {
        forward!(self, cx, Read, "journal.tombstone", Some(vm), tombstone(vm))
    }
}
