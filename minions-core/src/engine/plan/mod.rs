//! What to do next, from the goal and what was observed. Pure: no clock, no I/O, no memory.

mod absent;
mod parked;
mod running;
mod stopped;

use super::observe::Observed;
use super::step::Step;
use crate::error::ErrorKind;
use crate::mutant::{Mutant, planted};
use crate::store::{JournalRow, Outcome};
use crate::types::{DiskRole, Goal, StateReason, VolumeId};

/// Steps that run concurrently.
pub type Stage = Vec<Step>;

/// What follows from a goal and an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The goal is met: nothing is left to do.
    Met,
    /// The stages that lead there, as far as can be seen from here. After each, observe and plan again.
    Stages(Vec<Stage>),
    /// Nothing is left on the host: the row becomes a tombstone.
    Bury,
    /// It cannot be met by anything that the engine may do.
    GiveUp {
        /// For programs.
        kind: ErrorKind,
        /// For people.
        reason: StateReason,
    },
}

/// What to do next.
#[must_use]
pub fn plan(row: &JournalRow, seen: &Observed) -> Plan {
    match (&row.entry.goal, &row.outcome) {
        (Goal::Absent { keep_data }, _) => absent::plan(seen, *keep_data),
        (_, Some(Outcome::GivenUp { reason, .. })) => parked::plan(reason, seen),
        (Goal::Running { epoch }, _) => running::plan(row, *epoch, seen),
        (Goal::Stopped { how }, _) => stopped::plan(row, how, seen),
    }
}

/// The disks that a row shall have, and which of them were seen.
fn disks<'a>(
    row: &JournalRow,
    seen: &'a Observed,
) -> impl Iterator<Item = (DiskRole, crate::types::ByteSize, Option<&'a crate::storage::VolumeStatus>)> {
    let root = (DiskRole::Root, row.entry.spec.root, seen.root.as_ref());
    let data = row.entry.spec.data.map(|size| (DiskRole::Data, size, seen.data.as_ref()));
    std::iter::once(root).chain(data)
}

/// A disk that was there and is not any more: nothing that the engine makes could replace it.
fn lost_disk(row: &JournalRow, seen: &Observed) -> Option<Plan> {
    let provisioned = row.provisioned.filter(|_| !planted(Mutant::RemakeLostDisk));
    let spec = &row.entry.spec;
    // A root disk of a new turn is still to be made; a data disk is there from the first turn on, and one that was taken
    // over from before that.
    let made = |role| match role {
        DiskRole::Root => provisioned == Some(spec.root_turn),
        DiskRole::Data => provisioned.is_some() || spec.data_from.is_some(),
    };
    let lost = |volume: Option<&crate::storage::VolumeStatus>| !volume.is_some_and(|volume| volume.whole);
    let (role, ..) = disks(row, seen).find(|&(role, _, volume)| made(role) && lost(volume))?;
    let volume = match role {
        DiskRole::Root => spec.root_volume(row.entry.vm),
        DiskRole::Data => VolumeId::data(spec.data_from.unwrap_or(row.entry.vm)),
    };
    Some(Plan::GiveUp {
        kind: ErrorKind::NotFound,
        reason: StateReason::new(
            "volume_lost",
            format!("the {} disk {volume} was there and is gone; restore it, or destroy the VM", role.as_str()),
        ),
    })
}

/// The disks that are still to be made, finished, grown, or brought back by the host.
fn missing_disks(row: &JournalRow, seen: &Observed) -> impl Iterator<Item = Step> {
    disks(row, seen)
        .filter(|(_, size, volume)| !volume.is_some_and(|volume| volume.whole && volume.active && volume.size >= *size))
        .map(|(role, ..)| Step::MakeVolume(role))
}

/// The root disks whose place another one has taken.
fn old_roots(seen: &Observed) -> Stage {
    seen.old_roots.iter().copied().map(Step::RemoveVolume).collect()
}

/// A plan of those stages that have steps.
fn stages(stages: impl IntoIterator<Item = Stage>) -> Option<Plan> {
    let stages: Vec<Stage> = stages.into_iter().filter(|stage| !stage.is_empty()).collect();
    (!stages.is_empty()).then_some(Plan::Stages(stages))
}
