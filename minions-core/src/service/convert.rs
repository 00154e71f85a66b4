//! Rows and reports become what crosses the wire.

use crate::api::v1;
use crate::mutant::{Mutant, planted};
use crate::node::{NodeInfo, NodeVm, Settled};
use crate::store::{Access, Event, EventKind, OperationRow, OperationState, VmRow};
use crate::types::{Goal, PortPolicy, VmState};

/// A VM, from its row and what its host said last. Never better than the worse of the two.
pub(super) fn vm(row: &VmRow, node: Option<&NodeVm>) -> v1::Vm {
    let node = node.filter(|_| row.deleted.is_none());
    let (state, reason, since) = match node {
        _ if row.deleted.is_some() => (VmState::Destroyed, row.failure.clone(), row.updated),
        _ if row.failure.is_some() && !row.goal.is_absent() && row.settled == row.generation => {
            (VmState::Failed, row.failure.clone(), row.updated)
        }
        _ if row.goal.is_absent() => {
            (VmState::Deleting, node.and_then(|node| node.reason.clone()), node.map_or(row.updated, |node| node.since))
        }
        // The host works on an older wish: what it says of that may be better than what is now asked.
        Some(node) if node.generation < row.generation && changes_state(node.state, &row.goal) => {
            (in_between(&row.goal), node.reason.clone(), row.updated)
        }
        Some(node) => (node.state, node.reason.clone(), node.since),
        None => (VmState::Pending, None, row.updated),
    };
    v1::Vm {
        id: row.id,
        name: row.name.clone(),
        owner: row.owner.0.clone(),
        state,
        reason,
        since,
        last_progress: node.map_or(row.updated, |node| node.last_progress.max(row.created)),
        goal: row.goal.as_str().to_owned(),
        generation: row.generation,
        epoch: row.epoch,
        access: access(&row.access),
        image: row.spec.image,
        cpus: row.spec.vcpus,
        memory: row.spec.memory,
        disk: row.spec.root,
        data_disk: row.spec.data.unwrap_or_default(),
        running: node.and_then(|node| node.size).map(|size| v1::RunningSize { cpus: size.vcpus, memory: size.memory }),
        data_from: row.spec.data_from,
        policy: (row.spec.policy != PortPolicy::default()).then(|| row.spec.policy.clone()),
        fences: node.and_then(|node| node.fences),
        ip: node.and_then(|node| node.ip),
        restarts: node.map_or(0, |node| node.restarts),
        created: row.created,
        deleted: row.deleted,
        timings: node.map(|node| node.marks.clone()).unwrap_or_default(),
    }
}

fn access(access: &Access) -> v1::Access {
    v1::Access {
        port: access.port,
        public: access.public,
        shared: access.shared.iter().map(|owner| owner.0.clone()).collect(),
    }
}

fn changes_state(state: VmState, goal: &Goal) -> bool {
    match goal {
        Goal::Running { .. } => matches!(state, VmState::Stopped | VmState::Failed),
        Goal::Stopped { .. } => matches!(state, VmState::Running | VmState::Failed),
        Goal::Absent { .. } => true,
    }
}

fn in_between(goal: &Goal) -> VmState {
    match goal {
        Goal::Running { .. } => VmState::Starting,
        Goal::Stopped { .. } => VmState::Stopping,
        Goal::Absent { .. } => VmState::Deleting,
    }
}

/// A data disk that a destroyed VM left.
pub(super) fn disk(row: &VmRow) -> v1::Disk {
    v1::Disk {
        id: row.id,
        name: row.name.clone(),
        owner: row.owner.0.clone(),
        size: row.spec.data.unwrap_or_default(),
        since: row.updated,
    }
}

/// An operation.
pub(super) fn operation(row: &OperationRow) -> v1::Operation {
    v1::Operation {
        id: row.id,
        verb: row.verb,
        vm: row.vm,
        outcome: outcome(&row.state),
        timings: row.marks.clone(),
        created: row.created,
        ended: row.ended,
    }
}

fn outcome(state: &OperationState) -> v1::OperationOutcome {
    match state {
        OperationState::Pending => v1::OperationOutcome::Pending,
        OperationState::Succeeded => v1::OperationOutcome::Succeeded,
        OperationState::Failed { kind, reason } => v1::OperationOutcome::Failed {
            error: v1::Problem {
                kind: *kind,
                reason: Some(reason.code.clone()),
                field: None,
                message: reason.message.clone(),
                status: v1::status_of(*kind, Some(&reason.code)),
                effect: crate::error::Effect::None,
            },
        },
    }
}

/// An event.
pub(super) fn event(event: &Event) -> v1::Event {
    let body = match &event.event.kind {
        EventKind::Accepted { operation, verb } => v1::EventBody::Accepted { operation: *operation, verb: *verb },
        EventKind::Ended { operation, verb, outcome: state } => {
            v1::EventBody::Ended { operation: *operation, verb: *verb, outcome: outcome(state) }
        }
        EventKind::State { state, reason } => v1::EventBody::State { state: *state, reason: reason.clone() },
        EventKind::Deleted => v1::EventBody::Deleted,
    };
    v1::Event { seq: event.seq, vm: event.event.vm, name: event.event.name.clone(), at: event.event.at, body }
}

/// The host.
pub(super) fn host(info: &NodeInfo) -> v1::HostStatus {
    v1::HostStatus {
        hypervisor: format!("{} {}", info.hypervisor.name, info.hypervisor.version),
        storage: info.storage.name.clone(),
        network: info.network.name.clone(),
        guest: info.guest.name.clone(),
        isolated: info.network.isolated,
        accelerated: info.hypervisor.accelerated,
        simulated: info.hypervisor.simulated,
        vms: info.vms,
        quarantined: info.quarantined,
        storage_total: info.usage.total,
        storage_used: info.usage.used,
        storage_metadata_total: info.usage.metadata.map(|fill| fill.total),
        storage_metadata_used: info.usage.metadata.map(|fill| fill.used),
    }
}

/// What a settled report makes of an operation that waits for this VM; `None` while it goes on waiting.
pub(super) fn ended(operation: &OperationRow, row: &VmRow, node: &NodeVm) -> Option<OperationState> {
    use crate::types::OperationVerb as V;
    if planted(Mutant::SuccessOnAccept) && node.generation >= operation.generation {
        return Some(OperationState::Succeeded);
    }
    let settled = node.settled.as_ref().filter(|_| node.generation >= operation.generation)?;
    let met = match (operation.verb, node.goal) {
        (V::Create | V::Start | V::Restart, Goal::Running { .. })
        | (V::Stop, Goal::Stopped { .. })
        | (V::Rebase, Goal::Running { .. } | Goal::Stopped { .. })
        | (V::Destroy | V::DeleteDisk, Goal::Absent { .. }) => true,
        // They hold as soon as the host has taken them on: from the next start on.
        (V::Rename | V::Resize | V::Expose | V::Share, _) => return Some(OperationState::Succeeded),
        _ => false,
    };
    Some(match settled {
        Settled::Met | Settled::Gone if met => OperationState::Succeeded,
        Settled::GivenUp { kind, reason } if met => OperationState::Failed { kind: *kind, reason: reason.clone() },
        _ => match (&row.failure, operation.verb) {
            // A create that was unwound fails for the reason that it was unwound for.
            (Some(reason), V::Create) => {
                OperationState::Failed { kind: crate::error::ErrorKind::Unavailable, reason: reason.clone() }
            }
            _ => OperationState::Failed {
                kind: crate::error::ErrorKind::Conflict,
                reason: crate::types::StateReason::new("superseded", "another request came after it"),
            },
        },
    })
}
