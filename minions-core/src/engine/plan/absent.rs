//! Nothing but a tombstone: processes first, then doors, then disks, the row last.

use super::stopped::doors;
use super::{Plan, stages};
use crate::engine::observe::Observed;
use crate::engine::step::Step;
use crate::mutant::{Mutant, planted};
use crate::types::{DiskRole, StopHow};

pub(super) fn plan(seen: &Observed) -> Plan {
    let process = seen.vmm.as_ref().map(|_| Step::EndVmm(StopHow::Force)).into_iter().collect();
    if planted(Mutant::BuryBeforeDisks) && seen.vmm.is_none() {
        return Plan::Bury;
    }
    let root = seen.root.as_ref().map(|_| Step::RemoveVolume(DiskRole::Root));
    let data = seen.data.as_ref().map(|_| Step::RemoveVolume(DiskRole::Data));
    stages([process, doors(seen), root.into_iter().chain(data).collect()]).unwrap_or(Plan::Bury)
}
