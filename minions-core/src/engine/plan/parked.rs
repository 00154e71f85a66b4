//! Given up: no process is left running for nothing, and the disks are kept.

use super::stopped::doors;
use super::{Plan, stages};
use crate::engine::observe::Observed;
use crate::engine::step::Step;
use crate::types::{StateReason, StopHow};

pub(super) fn plan(reason: &StateReason, seen: &Observed) -> Plan {
    // A monitor whose disk was taken away may be the last to hold its bytes.
    if reason.code == "volume_lost" && seen.vmm.is_some() {
        return Plan::Met;
    }
    let process = seen.vmm.as_ref().map(|_| Step::EndVmm(StopHow::Force)).into_iter().collect();
    stages([process, doors(seen)]).unwrap_or(Plan::Met)
}
