//! What people see of a VM, from its row and an observation. Pure.

use super::observe::Observed;
use super::plan::Plan;
use super::step::Step;
use crate::hypervisor::VmmPhase;
use crate::store::{JournalRow, Outcome};
use crate::types::{Goal, Settled, StateReason, VmState};

/// The state, and why.
pub(super) fn state(row: &JournalRow, seen: &Observed, plan: &Plan) -> (VmState, Option<StateReason>) {
    if let Some(Outcome::GivenUp { reason, .. }) = &row.outcome
        && !row.entry.goal.is_absent()
    {
        return (VmState::Failed, Some(reason.clone()));
    }
    if let Plan::GiveUp { reason, .. } = plan {
        return (VmState::Failed, Some(reason.clone()));
    }
    let met = *plan == Plan::Met;
    let live = seen.vmm.as_ref().filter(|vmm| vmm.phase != VmmPhase::Exited);
    let state = match row.entry.goal {
        Goal::Absent { .. } => VmState::Deleting,
        Goal::Running { epoch } if met || tended(epoch, seen, plan) => VmState::Running,
        Goal::Stopped { .. } if met => VmState::Stopped,
        Goal::Running { epoch } if live.is_some_and(|vmm| vmm.epoch != epoch) => {
            return (VmState::Stopping, Some(StateReason::new("restart", "stops to start again")));
        }
        Goal::Stopped { .. } if seen.vmm.is_some() => VmState::Stopping,
        Goal::Running { .. } | Goal::Stopped { .. } if row.provisioned.is_none() => VmState::Creating,
        Goal::Running { .. } => VmState::Starting,
        Goal::Stopped { .. } => VmState::Stopping,
    };
    (state, None)
}

/// A guest that runs as it shall, whose disks are still seen to.
fn tended(epoch: u64, seen: &Observed, plan: &Plan) -> bool {
    let Plan::Stages(stages) = plan else { return false };
    let runs = seen.vmm.as_ref().is_some_and(|vmm| vmm.epoch == epoch && vmm.phase == VmmPhase::Running);
    let disks = |step: &Step| {
        matches!(step, Step::MakeVolume(_) | Step::RemoveVolume(_) | Step::ShowDisks | Step::GrowGuest(_))
    };
    runs && seen.known.proven == Some(epoch) && stages.iter().flatten().all(disks)
}

/// How the generation ended, as the fleet hears it.
pub(super) fn settled(row: &JournalRow) -> Option<Settled> {
    row.outcome.as_ref().map(|outcome| match outcome {
        Outcome::Met => Settled::Met,
        Outcome::GivenUp { kind, reason } => Settled::GivenUp { kind: *kind, reason: reason.clone() },
    })
}
