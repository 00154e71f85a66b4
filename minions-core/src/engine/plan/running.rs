//! A guest that answers, in a monitor of the epoch that was asked for.

use super::{Plan, Stage, disks, lost_disk, missing_disks, old_roots, stages};
use crate::engine::observe::Observed;
use crate::engine::step::Step;
use crate::error::ErrorKind;
use crate::guest::DoorState;
use crate::hypervisor::VmmPhase;
use crate::mutant::{Mutant, planted};
use crate::network::PortStatus;
use crate::store::JournalRow;
use crate::types::{StateReason, StopHow};

pub(super) fn plan(row: &JournalRow, epoch: u64, seen: &Observed) -> Plan {
    if let Some(lost) = lost_disk(row, seen) {
        return lost;
    }
    if let Some(old) = seen
        .vmm
        .as_ref()
        .filter(|vmm| (vmm.epoch != epoch && !planted(Mutant::IgnoreEpoch)) || vmm.phase == VmmPhase::Exited)
    {
        return Plan::Stages(super::stopped::end(old, &StopHow::DEFAULT, seen));
    }
    let turn = row.entry.spec.root_turn;
    let made = disks(row, seen).all(|(.., volume)| volume.is_some_and(|volume| volume.whole));
    if seen.vmm.is_some() && !made {
        // Nothing was promised for it yet, or the lost disk would have been found above: begin anew.
        return Plan::Stages(vec![vec![Step::EndVmm(StopHow::Force)]]);
    }
    let live = seen.vmm.as_ref().map(|vmm| vmm.phase);
    if seen.image.is_none() && live != Some(VmmPhase::Running) {
        return Plan::GiveUp {
            kind: ErrorKind::NotFound,
            reason: StateReason::new(
                "image_missing",
                format!("the image {} is not on this host; import it, then start again", row.entry.spec.image),
            ),
        };
    }

    let damage = seen.image.as_ref().and_then(|image| image.damage.as_deref());
    if let Some(damage) = damage.filter(|_| live != Some(VmmPhase::Running)) {
        return Plan::GiveUp {
            kind: ErrorKind::Denied,
            reason: StateReason::new(
                "image_corrupt",
                format!("{damage}; build or import {} again, then start again", row.entry.spec.image),
            ),
        };
    }

    // Of a guest that runs, see below.
    let mut parts: Stage = if live.is_none() { missing_disks(row, seen).collect() } else { Vec::new() };
    let broken = |port: &PortStatus| port.nic.is_none() && !planted(Mutant::TrustBrokenPort);
    if seen.port.as_ref().is_none_or(broken) {
        parts.push(Step::MakePort);
    }
    if seen.door != DoorState::Open && !(seen.door == DoorState::Stale && planted(Mutant::TrustStaleDoor)) {
        parts.push(Step::OpenDoor);
    }
    let note = if row.provisioned == Some(turn) || planted(Mutant::ForgetProvisioned) {
        vec![]
    } else {
        vec![Step::NoteProvisioned]
    };
    // What is noted has been seen. No guest runs before it is.
    let mut prepare = note;
    if live.is_none() {
        prepare.push(Step::PrepareVmm);
    }
    let start = if live == Some(VmmPhase::Running) { vec![] } else { vec![Step::StartVmm] };
    let ready = if seen.known.proven == Some(epoch) || planted(Mutant::AckBeforeReady) {
        vec![]
    } else if live == Some(VmmPhase::Running) && seen.known.started != Some(epoch) && seen.known.probed != Some(epoch) {
        vec![Step::Probe]
    } else {
        vec![Step::AwaitReady]
    };
    let grow = if live == Some(VmmPhase::Running) { grow(row, seen) } else { [vec![], vec![], vec![]] };
    let [disks, show, guest] = grow;
    stages([parts, prepare, start, ready, disks, show, guest, old_roots(seen)]).unwrap_or(Plan::Met)
}

/// A guest that ran before its disks were to be larger is shown them, once for each generation.
fn grow(row: &JournalRow, seen: &Observed) -> [Stage; 3] {
    let generation = Some(row.entry.generation);
    if row.outcome.is_some() || !seen.online_growth || [seen.known.booted, seen.known.grown].contains(&generation) {
        return [vec![], vec![], vec![]];
    }
    let guest = disks(row, seen).map(|(role, ..)| Step::GrowGuest(role)).collect();
    let larger: Stage = missing_disks(row, seen).collect();
    let show = if larger.is_empty() && seen.known.shown == generation { vec![] } else { vec![Step::ShowDisks] };
    [larger, show, guest]
}
