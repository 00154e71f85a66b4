//! Disks and leases, no process.

use super::{Plan, Stage, lost_disk, missing_disks, old_roots, stages};
use crate::engine::observe::Observed;
use crate::engine::step::Step;
use crate::error::ErrorKind;
use crate::guest::DoorState;
use crate::hypervisor::{VmmPhase, VmmStatus};
use crate::mutant::{Mutant, planted};
use crate::store::JournalRow;
use crate::types::{StateReason, StopHow};

pub(super) fn plan(row: &JournalRow, how: &StopHow, seen: &Observed) -> Plan {
    if let Some(vmm) = seen.vmm.as_ref().filter(|_| !planted(Mutant::StoppedBeforeKill)) {
        return Plan::Stages(end(vmm, how, seen));
    }
    if let Some(lost) = lost_disk(row, seen) {
        return lost;
    }
    let disks: Stage = missing_disks(row, seen).collect();
    if seen.image.is_none() && disks.contains(&Step::MakeVolume(crate::types::DiskRole::Root)) && seen.root.is_none() {
        return Plan::GiveUp {
            kind: ErrorKind::NotFound,
            reason: StateReason::new(
                "image_missing",
                format!("the image {} is not on this host", row.entry.spec.image),
            ),
        };
    }
    let note = if row.provisioned == Some(row.entry.spec.root_turn) { vec![] } else { vec![Step::NoteProvisioned] };
    stages([doors(seen), disks, note, old_roots(seen)]).unwrap_or(Plan::Met)
}

/// What is left of a VM outside its monitor and its disks.
pub(super) fn doors(seen: &Observed) -> Stage {
    let mut stage = Vec::new();
    if seen.port.is_some() {
        stage.push(Step::RemovePort);
    }
    if seen.door != DoorState::Absent {
        stage.push(Step::RemoveDoor);
    }
    stage
}

/// The ladder: ask the guest, grant it time, end the monitor.
pub(super) fn end(vmm: &VmmStatus, how: &StopHow, seen: &Observed) -> Vec<Stage> {
    let StopHow::Graceful { grace_ms } = *how else {
        return vec![vec![Step::EndVmm(StopHow::Force)]];
    };
    let running = vmm.phase == VmmPhase::Running;
    let mut ladder = Vec::new();
    if running && seen.known.asked != Some(vmm.epoch) {
        // An engine that is new has no door to ask through yet.
        if seen.door != DoorState::Open {
            ladder.push(vec![Step::OpenDoor]);
        }
        ladder.push(vec![Step::AskGuest]);
    }
    if running && seen.known.waited != Some(vmm.epoch) {
        ladder.push(vec![Step::AwaitExit { grace_ms }]);
    }
    ladder.push(vec![Step::EndVmm(StopHow::Force)]);
    ladder
}
