//! What an engine says of its VMs on its board.

use std::net::Ipv4Addr;

use super::drive::Inner;
use super::observe::Observed;
use super::plan::Plan;
use super::status;
use crate::env::CallCx;
use crate::error::Result;
use crate::store::{GoalEntry, JournalRow};
use crate::types::{Goal, NodeVm, Settled, StateReason, VmId, VmState};

impl Inner {
    /// Says that an entry was taken on, before anything was done for it.
    pub(super) fn announce(&self, row: &JournalRow) {
        let state = match row.entry.goal {
            Goal::Absent { .. } => VmState::Deleting,
            _ => match self.board.get(row.entry.vm) {
                // Until the next observation the old word stands, unless it is one that the new goal makes untrue.
                Some(known) if known.state != VmState::Failed => known.state,
                _ if row.provisioned.is_some() && matches!(row.entry.goal, Goal::Stopped { .. }) => VmState::Stopping,
                _ if row.provisioned.is_some() => VmState::Starting,
                _ => VmState::Creating,
            },
        };
        self.publish(&row.entry, state, None, row.lease.ip, status::settled(row));
    }

    pub(super) fn publish_seen(&self, row: &JournalRow, seen: &Observed, plan: &Plan) {
        let (state, reason) = status::state(row, seen, plan);
        let reason = reason.or_else(|| match state {
            VmState::Running | VmState::Stopped if *plan == Plan::Met => None,
            _ => self.remember(row.entry.vm, |memory| memory.trouble.clone()),
        });
        // A goal that is met but not settled yet is durable in a moment; it is told then.
        if *plan == Plan::Met && row.outcome.is_none() {
            return;
        }
        self.publish(&row.entry, state, reason, row.lease.ip, status::settled(row));
    }

    pub(super) fn publish_trouble(&self, row: &JournalRow) {
        if let Some(known) = self.board.get(row.entry.vm) {
            let trouble = self.remember(row.entry.vm, |memory| memory.trouble.clone());
            self.publish(&row.entry, known.state, trouble, row.lease.ip, known.settled);
        }
    }

    pub(super) fn publish(
        &self,
        entry: &GoalEntry,
        state: VmState,
        reason: Option<StateReason>,
        ip: Ipv4Addr,
        settled: Option<Settled>,
    ) {
        let now = self.env.clock.wall();
        let since = self.board.get(entry.vm).filter(|known| known.state == state).map_or(now, |known| known.since);
        let (marks, restarts, size, fences) =
            self.remember(entry.vm, |memory| (memory.marks.clone(), memory.restarts, memory.size, memory.fences));
        let same = self.board.get(entry.vm).filter(|known| known.marks == marks && known.state == state);
        let last_progress = same.map_or(now, |known| known.last_progress);
        let ip = Some(ip);
        let (vm, generation, goal) = (entry.vm, entry.generation, entry.goal);
        self.board.put(NodeVm {
            vm,
            generation,
            goal,
            state,
            reason,
            since,
            last_progress,
            settled,
            ip,
            restarts,
            size,
            fences,
            marks,
        });
    }

    /// It was buried by a call that said that it had failed: whoever waits for it shall hear of it all the same.
    pub(super) async fn tell_buried(&self, cx: &CallCx, vm: VmId) -> Result<()> {
        let Some(known) = self.board.get(vm).filter(|known| known.settled != Some(Settled::Gone)) else {
            return Ok(());
        };
        if self.ports.journal.tombstone(cx, vm).await?.is_some() {
            self.board.put(NodeVm { state: VmState::Deleting, reason: None, settled: Some(Settled::Gone), ..known });
        }
        Ok(())
    }
}
