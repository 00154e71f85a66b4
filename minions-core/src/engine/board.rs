//! The latest of every VM on the host, for whoever follows along.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::types::{NodeChanges, NodeVm, Settled, VmId, VmState};

#[derive(Debug, Default)]
struct State {
    seq: u64,
    vms: HashMap<VmId, (u64, NodeVm)>,
    order: BTreeMap<u64, VmId>,
    gone: VecDeque<VmId>,
}

/// The latest of every VM, in the order in which they changed last. Followers that fall behind miss steps between, never
/// the latest.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    latest: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { state: Mutex::default(), latest: watch::Sender::new(0) }
    }
}

/// Most VMs in one page.
const PAGE: usize = 1_000;

/// So many that are gone are kept for followers that are behind; who missed one hears it when they ask for its absence.
const GONE: usize = 1_000;

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest of one VM.
    #[must_use]
    pub fn get(&self, vm: VmId) -> Option<NodeVm> {
        self.state().vms.get(&vm).map(|(_, vm)| vm.clone())
    }

    /// How many VMs are on it that are not gone.
    #[must_use]
    pub fn len(&self) -> u64 {
        let state = self.state();
        u64::try_from(state.vms.len().saturating_sub(state.gone.len())).unwrap_or(u64::MAX)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What changed after a place, oldest first.
    #[must_use]
    pub fn after(&self, place: u64) -> NodeChanges {
        let state = self.state();
        // A place beyond the end comes from before a restart: begin anew.
        let place = if place > state.seq { 0 } else { place };
        let mut next = place;
        let mut vms = Vec::new();
        for (seq, id) in state.order.range(place + 1..).take(PAGE) {
            next = *seq;
            vms.extend(state.vms.get(id).map(|(_, vm)| vm.clone()));
        }
        NodeChanges { next, vms }
    }

    /// What changed after a place, as soon as something has.
    pub async fn changes(&self, place: u64) -> NodeChanges {
        let mut latest = self.latest.subscribe();
        loop {
            let page = self.after(place);
            if !page.vms.is_empty() || latest.changed().await.is_err() {
                return page;
            }
        }
    }

    /// Waits while a VM is on its way to run, or has not been looked at yet, and gives back its state then.
    pub(crate) async fn past_starting(&self, vm: VmId) -> Option<VmState> {
        let mut latest = self.latest.subscribe();
        loop {
            let state = self.get(vm).map(|report| report.state);
            let starting = matches!(state, None | Some(VmState::Creating | VmState::Starting));
            if !starting || latest.changed().await.is_err() {
                return state;
            }
        }
    }

    /// Writes down the latest of a VM; a repeat of what is there already is no change.
    pub(super) fn put(&self, vm: NodeVm) {
        let mut state = self.state();
        if state.vms.get(&vm.vm).is_some_and(|(_, known)| *known == vm) {
            return;
        }
        state.seq += 1;
        let seq = state.seq;
        if let Some((old, _)) = state.vms.insert(vm.vm, (seq, vm.clone())) {
            state.order.remove(&old);
        }
        state.order.insert(seq, vm.vm);
        if vm.settled == Some(Settled::Gone) {
            state.gone.push_back(vm.vm);
            if state.gone.len() > GONE
                && let Some(old) = state.gone.pop_front()
                && let Some((seq, _)) = state.vms.remove(&old)
            {
                state.order.remove(&seq);
            }
        }
        drop(state);
        self.latest.send_replace(seq);
    }
}
