//! Nothing but a tombstone: processes first, then doors, then disks, the row last.

use super::stopped::doors;
use super::{Plan, stages};
use crate::engine::observe::Observed;
use crate::engine::step::Step;
use crate::mutant::{Mutant, planted};
use crate::types::StopHow;

pub(super) fn plan(seen: &Observed, keep_data: bool) -> Plan {
    let process = seen.vmm.as_ref().map(|_| Step::EndVmm(StopHow::Force)).into_iter().collect();
    if planted(Mutant::BuryBeforeDisks) && seen.vmm.is_none() {
        return Plan::Bury;
    }
    let data = seen.data.as_ref().filter(|_| !keep_data || planted(Mutant::DropKeptData));
    let disks = seen.root.iter().chain(data).map(|volume| volume.id);
    let disks = disks.chain(seen.old_roots.iter().copied()).map(Step::RemoveVolume).collect();
    stages([process, doors(seen), disks]).unwrap_or(Plan::Bury)
}
