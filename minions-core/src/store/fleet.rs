//! What people asked for: VMs, operations, events.

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;

use super::people::{NewAudit, PeopleWrite};
use super::retention::{Prune, Pruned};
use crate::env::CallCx;
use crate::error::Result;
use crate::types::{
    BootMark, ByteSize, EventSeq, Generation, Goal, OperationId, OperationVerb, StateReason, UnixMillis, VmId, VmName,
    VmSpec,
};

/// The account that something belongs to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Owner(pub String);

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may reach a VM through the front doors besides its owner, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Access {
    /// The TCP port that its web name leads to; found among those that listen where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Anybody may.
    #[serde(default)]
    pub public: bool,
    /// These may, after they have logged in.
    #[serde(default)]
    pub shared: BTreeSet<Owner>,
}

/// One VM as the fleet knows it: from its acknowledged create to its tombstone, which is kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VmRow {
    /// Never reused.
    pub id: VmId,
    /// Unique among rows that are not tombstones.
    pub name: VmName,
    /// Whose it is.
    pub owner: Owner,
    /// What it shall be.
    pub spec: VmSpec,
    /// What shall become of it.
    pub goal: Goal,
    /// Rises with every change of spec, name or goal.
    pub generation: Generation,
    /// The generation that the host reported as reached or given up; below `generation` there is work to push.
    pub settled: Generation,
    /// Rises with every start and restart.
    pub epoch: u64,
    /// Why it was given up, where it was.
    pub failure: Option<StateReason>,
    /// When it was created.
    pub created: UnixMillis,
    /// When its row changed last.
    pub updated: UnixMillis,
    /// When it became a tombstone.
    pub deleted: Option<UnixMillis>,
    /// Of a tombstone: the data disk that was made for this VM is there for another one to take over, and has the size that
    /// the spec says.
    #[serde(default)]
    pub kept: bool,
    /// Who may reach it besides its owner.
    #[serde(default)]
    pub access: Access,
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum OperationState {
    /// Accepted and durable.
    Pending,
    /// Done, and observed to be done.
    Succeeded,
    /// Ended otherwise.
    Failed {
        /// The kind's stable name.
        kind: crate::error::ErrorKind,
        /// Why.
        reason: StateReason,
    },
}

/// One acknowledged request, kept so that it can be asked for again.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OperationRow {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub verb: OperationVerb,
    /// To which VM.
    pub vm: VmId,
    /// Who asked.
    pub owner: Owner,
    /// Done when the VM has settled at this generation or above.
    pub generation: Generation,
    /// The caller's key, unique per owner, and the hash of the request it came with.
    pub idempotency: Option<(String, [u8; 32])>,
    /// How far it is.
    pub state: OperationState,
    /// What took how long.
    pub marks: Vec<BootMark>,
    /// When it was accepted.
    pub created: UnixMillis,
    /// When it ended.
    pub ended: Option<UnixMillis>,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum EventKind {
    /// A request was accepted.
    Accepted {
        /// The operation.
        operation: OperationId,
        /// What it does.
        verb: OperationVerb,
    },
    /// An operation ended.
    Ended {
        /// The operation.
        operation: OperationId,
        /// What it did.
        verb: OperationVerb,
        /// How.
        outcome: OperationState,
    },
    /// The state that people see has changed.
    State {
        /// What it is now.
        state: crate::types::VmState,
        /// Why.
        reason: Option<StateReason>,
    },
    /// The VM is gone.
    Deleted,
}

/// An event that is yet to get its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// About which VM.
    pub vm: VmId,
    /// Its name at that moment.
    pub name: VmName,
    /// Whose it is.
    pub owner: Owner,
    /// When.
    pub at: UnixMillis,
    /// What.
    pub kind: EventKind,
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place.
    pub seq: EventSeq,
    /// What it tells.
    pub event: NewEvent,
}

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Of this owner only.
    pub of: Option<Owner>,
    /// Those after this place.
    pub after: EventSeq,
    /// At most so many.
    pub limit: usize,
}

impl EventQuery {
    /// Of everybody.
    #[must_use]
    pub fn all(after: EventSeq, limit: usize) -> Self {
        Self { of: None, after, limit }
    }

    /// Of one owner.
    #[must_use]
    pub fn of(owner: Owner, after: EventSeq, limit: usize) -> Self {
        Self { of: Some(owner), after, limit }
    }
}

/// What must hold inside the transaction, after its writes where it does not say otherwise. Tombstones count
/// for nobody, but for the disks that they keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Before the writes, there was a row of the VM at this generation and settled there; else `Conflict` reason `changed_meanwhile`.
    Unchanged {
        /// Which VM.
        vm: VmId,
        /// The generation that the writer read.
        generation: Generation,
        /// The settled generation that the writer read.
        settled: Generation,
    },
    /// Before the writes, no tombstone of another owner younger than this has the name; else `AlreadyExists` reason `name_taken`.
    NameRested {
        /// The name.
        name: VmName,
        /// Who wants it.
        owner: Owner,
        /// Tombstones made before this no longer count.
        since: UnixMillis,
    },
    /// The owner has at most this many VMs; else `Exhausted` reason `quota`.
    VmsAtMost {
        /// Whose.
        owner: Owner,
        /// How many.
        limit: u64,
    },
    /// The owner's disks, of stopped VMs and those that tombstones keep too, are at most this; else `Exhausted` reason `quota`.
    DiskAtMost {
        /// Whose.
        owner: Owner,
        /// How much.
        limit: ByteSize,
    },
    /// The owner's memory over all VMs is at most this; else `Exhausted` reason `quota`.
    MemoryAtMost {
        /// Whose.
        owner: Owner,
        /// How much.
        limit: ByteSize,
    },
}

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new VM; `AlreadyExists` reason `name_taken` where a live row has its name, `id_taken` where its id was ever used.
    InsertVm(VmRow),
    /// The row of a VM that exists, whole, else `NotFound`; the same check of its name. A tombstone stays one: else it is
    /// a `Conflict` reason `gone`.
    UpdateVm(VmRow),
    /// A new operation; `AlreadyExists` reason `idempotency_key` where the owner's key is taken, `id_taken` where its id is.
    InsertOperation(OperationRow),
    /// An operation that exists, whole, else `NotFound`.
    UpdateOperation(OperationRow),
}

/// One transaction: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetChange {
    /// What must hold.
    pub guards: Vec<Guard>,
    /// What is written, in order.
    pub writes: Vec<Write>,
    /// What is written of people, in order, after it.
    pub people: Vec<PeopleWrite>,
    /// What is told.
    pub events: Vec<NewEvent>,
    /// What the audit log keeps of it.
    pub audit: Vec<NewAudit>,
}

/// Which VMs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmQuery {
    /// Only this owner's.
    pub owner: Option<Owner>,
    /// Only those after this id.
    pub after: Option<VmId>,
    /// Only those whose host has work to do (`settled < generation`).
    pub unsettled: bool,
    /// Tombstones too.
    pub deleted: bool,
    /// Only tombstones that keep a data disk.
    pub kept: bool,
    /// At most this many.
    pub limit: usize,
}

/// Durable intent of the whole fleet.
///
/// # Contract
/// - [`commit`](Self::commit) is one transaction: all of it is durable when it returns `Ok`, nothing of it after an `Err`
///   with `Effect::None`. After `Effect::Unknown` the caller reads before it acts.
/// - Events get consecutive places, in the order of the commits, in the same transaction as the change.
/// - What was told is kept until [`prune`](Self::prune) forgets it, oldest first and never the newest, so that places that
///   are kept follow one another without a gap.
/// - Reads see every commit that returned before they began.
/// - A store that keeps no people refuses to write any with `Unsupported`; the ones that come with the crate are
///   [`People`](super::People) too.
///
/// Source of the contract's checks: `testkit::fleet_store_suite!`.
#[cfg_attr(feature = "mockall", mockall::automock)]
#[async_trait]
pub trait FleetStore: Debug + Send + Sync + 'static {
    /// One transaction. Returns the place of the last event in the stream.
    async fn commit(&self, cx: &CallCx, change: &FleetChange) -> Result<EventSeq>;

    /// A VM or its tombstone.
    async fn vm(&self, cx: &CallCx, id: VmId) -> Result<Option<VmRow>>;

    /// The VM that has a name now; never a tombstone.
    async fn vm_by_name(&self, cx: &CallCx, name: &VmName) -> Result<Option<VmRow>>;

    /// A page of VMs in the order of their ids.
    async fn vms(&self, cx: &CallCx, query: &VmQuery) -> Result<Vec<VmRow>>;

    /// An operation.
    async fn operation(&self, cx: &CallCx, id: OperationId) -> Result<Option<OperationRow>>;

    /// The operation that an owner's key belongs to.
    async fn operation_by_key(&self, cx: &CallCx, owner: &Owner, key: &str) -> Result<Option<OperationRow>>;

    /// The pending operations of a VM, oldest first.
    async fn pending_operations(&self, cx: &CallCx, vm: VmId) -> Result<Vec<OperationRow>>;

    /// Events after a place, in order; after place 0, from the oldest that is kept. Where any event after any other place
    /// was forgotten, whosever it was, it is `NotFound` reason `events_pruned`: no reader misses one without hearing of
    /// it. The work is in the number of events that are returned, not of all.
    async fn events(&self, cx: &CallCx, query: &EventQuery) -> Result<Vec<Event>>;

    /// The place of the last event.
    async fn last_event(&self, cx: &CallCx) -> Result<EventSeq>;

    /// Forgets a bounded part of what nobody needs any more, in one transaction. An interrupted one forgot all of its part
    /// or nothing.
    async fn prune(&self, cx: &CallCx, prune: &Prune) -> Result<Pruned>;
}

/// A fleet store that is shared.
pub type DynFleetStore = Arc<dyn FleetStore>;
