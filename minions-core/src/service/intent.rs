//! An admitted request becomes one transaction. Pure: ids and times come in.

use super::admit::{Denied, Intent, Record, admit, hardens};
use super::audit;
use super::caller::Caller;
use super::control_plane::VmAction;
use super::limits::{self, Quota};
use crate::api::v1;
use crate::error::{Error, ErrorKind, Result};
use crate::mutant::{Mutant, planted};
use crate::store::{
    Access, EventKind, FleetChange, Guard, NewAudit, NewEvent, OperationRow, OperationState, Owner, VmRow, Write,
};
use crate::types::{
    ByteSize, Generation, Goal, ImageId, OperationId, OperationVerb, StopHow, UnixMillis, VmId, VmName, VmSpec,
};

/// What one request brings along.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) caller: &'a Caller,
    pub(super) operation: OperationId,
    pub(super) now: UnixMillis,
    /// The caller's key and the hash of the request.
    pub(super) idempotency: Option<(String, [u8; 32])>,
}

/// What a new root disk is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) image: ImageId,
    /// How large it is at least.
    pub(super) root: ByteSize,
}

/// How long a name rests after its VM was destroyed before another owner may have it.
const NAME_REST_MS: u64 = 24 * 3_600 * 1_000;

/// What a new VM shall be.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) owner: Owner,
    pub(super) spec: VmSpec,
    pub(super) access: Access,
    /// The tombstone whose data disk it takes over.
    pub(super) origin: Option<VmRow>,
}

/// A new VM.
pub(super) fn create(
    request: &Request<'_>,
    id: VmId,
    name: &VmName,
    made: Made,
    quota: &Quota,
) -> (FleetChange, OperationRow) {
    let Made { owner, spec, access, origin } = made;
    let row = VmRow {
        id,
        name: name.clone(),
        owner: owner.clone(),
        spec,
        goal: Goal::Running { epoch: 1 },
        generation: Generation(1),
        settled: Generation(0),
        epoch: 1,
        failure: None,
        created: request.now,
        updated: request.now,
        deleted: None,
        kept: false,
        access,
    };
    let operation = operation(request, OperationVerb::Create, &row);
    let mut writes = Vec::new();
    let mut guards = vec![Guard::NameRested {
        name: name.clone(),
        owner: owner.clone(),
        since: UnixMillis(request.now.0.saturating_sub(NAME_REST_MS)),
    }];
    guards.extend(quota.guards(&owner));
    let events = vec![accepted(request, &operation, &row)];
    if let Some(origin) = origin {
        guards.push(Guard::Unchanged { vm: origin.id, generation: origin.generation, settled: origin.settled });
        // The generation rises, so that of two who want it one comes too late.
        writes.push(Write::UpdateVm(taken(&origin)));
    }
    writes.extend([Write::InsertVm(row), Write::InsertOperation(operation.clone())]);
    let audit = told(request, &operation, name);
    (FleetChange { guards, writes, events, audit, ..FleetChange::default() }, operation)
}

/// The tombstone, when its data disk is another's.
fn taken(origin: &VmRow) -> VmRow {
    VmRow { kept: false, generation: origin.generation.next(), settled: origin.generation.next(), ..origin.clone() }
}

/// A change of a VM that exists. `met` says whether its host's last word is that its goal is met.
pub(super) fn change(
    request: &Request<'_>,
    old: &VmRow,
    action: &VmAction,
    met: bool,
    base: Option<Base>,
    quota: &Quota,
) -> Result<(FleetChange, OperationRow)> {
    let verb = verb(action);
    let mut intent = admit(verb, Record::of(old)).map_err(Denied::error)?;
    let mut row = old.clone();
    let mut guards = vec![Guard::Unchanged { vm: old.id, generation: old.generation, settled: old.settled }];
    match action {
        VmAction::Stop(stop) => {
            let how = how(stop);
            if intent == Intent::Join && hardens(&old.goal, how) {
                intent = Intent::Goal;
            }
            row.goal = if intent == Intent::Goal { Goal::Stopped { how } } else { old.goal };
        }
        VmAction::Start(_) | VmAction::Restart(_) if intent == Intent::Goal => {
            row.epoch += 1;
            row.goal = Goal::Running { epoch: row.epoch };
        }
        VmAction::Start(_) | VmAction::Restart(_) => {}
        VmAction::Destroy(destroy) if intent == Intent::Goal => {
            if destroy.keep_data && row.spec.data.is_none() {
                let text = "the VM has no data disk to keep; destroy it without keeping one";
                return Err(Error::invalid("keep_data", text));
            }
            // What its create has not finished yet holds nothing that could be kept.
            if destroy.keep_data && old.settled == Generation(0) && row.spec.data_from.is_none() {
                let text = "the VM was never up, and its data disk may not be made yet; wait for it, or keep nothing";
                return Err(Error::new(ErrorKind::Denied, text).with_reason("wrong_state").with_field("keep_data"));
            }
            row.goal = Goal::Absent { keep_data: destroy.keep_data };
        }
        VmAction::Destroy(_) => {}
        VmAction::DeleteDisk(_) => {
            row.goal = Goal::ABSENT;
            row.kept = false;
        }
        VmAction::Rebase(_) => {
            if let Some(base) = base {
                row.spec.image = base.image;
                row.spec.root = row.spec.root.max(base.root);
            }
            row.spec.root_turn = row.spec.root_turn.checked_add(1).ok_or_else(|| Error::internal("no turn is left"))?;
            guards.extend(quota.guards(&row.owner));
            if let Goal::Running { .. } = row.goal {
                row.epoch += 1;
                row.goal = Goal::Running { epoch: row.epoch };
            }
        }
        VmAction::Rename(rename) => {
            row.name = rename.name.name().clone();
            guards.push(Guard::NameRested {
                name: rename.name.name().clone(),
                owner: row.owner.clone(),
                since: UnixMillis(request.now.0.saturating_sub(NAME_REST_MS)),
            });
        }
        VmAction::Expose(expose) => {
            row.access.port = limits::port(expose.port)?;
        }
        VmAction::Share(share) => limits::share(share, &mut row.access)?,
        VmAction::Resize(resize) => {
            row.spec.vcpus = resize.cpus.unwrap_or(row.spec.vcpus);
            row.spec.memory = resize.memory.unwrap_or(row.spec.memory);
            row.spec.root = resize.disk.unwrap_or(row.spec.root);
            row.spec.data = resize.data_disk.or(row.spec.data);
            guards.extend(quota.guards(&row.owner));
        }
    }
    // Met once, and not any more as far as is known: it is said anew, and done when it is seen to be met again.
    let anew = intent == Intent::Join && old.settled == old.generation && !met;
    let mut writes = Vec::new();
    if intent != Intent::Join || anew {
        // A lost VM is never pushed to a host again, except to be buried.
        let lost = Record::of(old) == Record::Lost && verb != OperationVerb::Destroy;
        row.generation = old.generation.next();
        row.updated = request.now;
        if lost {
            row.settled = row.generation;
        } else if intent != Intent::Record {
            row.failure = None;
        }
        writes.push(Write::UpdateVm(row.clone()));
    }
    let mut operation = operation(request, verb, &row);
    if row.settled == row.generation && (intent == Intent::Join || Record::of(old) == Record::Lost) {
        operation.state = OperationState::Succeeded;
        operation.ended = Some(request.now);
    }
    let mut events = vec![accepted(request, &operation, &row)];
    if operation.state != OperationState::Pending {
        events.push(event(&row, request.now, ended_event(&operation)));
    }
    writes.push(Write::InsertOperation(operation.clone()));
    let audit = told(request, &operation, &old.name);
    Ok((FleetChange { guards, writes, events, audit, ..FleetChange::default() }, operation))
}

fn how(stop: &v1::StopVm) -> StopHow {
    match (stop.force, stop.grace_ms) {
        (true, _) => StopHow::Force,
        (false, Some(grace_ms)) => StopHow::Graceful { grace_ms },
        (false, None) => StopHow::DEFAULT,
    }
}

pub(super) fn verb(action: &VmAction) -> OperationVerb {
    match action {
        VmAction::Start(_) => OperationVerb::Start,
        VmAction::Stop(_) => OperationVerb::Stop,
        VmAction::Restart(_) => OperationVerb::Restart,
        VmAction::Destroy(_) => OperationVerb::Destroy,
        VmAction::Rename(_) => OperationVerb::Rename,
        VmAction::Resize(_) => OperationVerb::Resize,
        VmAction::Rebase(_) => OperationVerb::Rebase,
        VmAction::DeleteDisk(_) => OperationVerb::DeleteDisk,
        VmAction::Expose(_) => OperationVerb::Expose,
        VmAction::Share(_) => OperationVerb::Share,
    }
}

/// What an idempotency key is bound to.
pub(super) fn fingerprint(verb: OperationVerb, target: Option<VmId>, body: &impl serde::Serialize) -> Result<[u8; 32]> {
    let text = serde_json::to_vec(&(verb, target, body))
        .map_err(|error| Error::internal("a request cannot be written as JSON").with_source(error))?;
    Ok(hmac_sha256::Hash::hash(&text))
}

fn operation(request: &Request<'_>, verb: OperationVerb, row: &VmRow) -> OperationRow {
    OperationRow {
        id: request.operation,
        verb,
        vm: row.id,
        owner: request.caller.owner.clone(),
        generation: row.generation,
        idempotency: request.idempotency.clone().filter(|_| !planted(Mutant::NoIdempotency)),
        state: OperationState::Pending,
        marks: Vec::new(),
        created: request.now,
        ended: None,
    }
}

/// The audit log's entry, in the transaction that makes it true.
fn told(request: &Request<'_>, operation: &OperationRow, name: &VmName) -> Vec<NewAudit> {
    let target = format!("{name} {}", operation.vm);
    vec![audit::entry(request.caller, operation.verb.as_str(), target, "ok", request.now)]
}

fn accepted(request: &Request<'_>, operation: &OperationRow, row: &VmRow) -> NewEvent {
    event(row, request.now, EventKind::Accepted { operation: operation.id, verb: operation.verb })
}

pub(super) fn ended_event(operation: &OperationRow) -> EventKind {
    EventKind::Ended { operation: operation.id, verb: operation.verb, outcome: operation.state.clone() }
}

pub(super) fn event(row: &VmRow, at: UnixMillis, kind: EventKind) -> NewEvent {
    NewEvent { vm: row.id, name: row.name.clone(), owner: row.owner.clone(), at, kind }
}
