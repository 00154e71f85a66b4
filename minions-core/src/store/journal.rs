//! What one host has taken on: goals, and what it lends out for them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::env::CallCx;
use crate::error::Result;
use crate::types::{AddressPool, AgentSecret, Generation, Goal, Lease, StateReason, VmId, VmName, VmSpec};

/// What a host is asked to bring about for one VM.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GoalEntry {
    /// Which VM.
    pub vm: VmId,
    /// The guest's host name.
    pub hostname: VmName,
    /// Of what was asked.
    pub generation: Generation,
    /// What shall become of it.
    pub goal: Goal,
    /// What it shall be.
    pub spec: VmSpec,
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The goal was observed to be met.
    Met,
    /// Given up; a later generation tries again.
    GivenUp {
        /// The kind's stable name.
        kind: crate::error::ErrorKind,
        /// Why.
        reason: StateReason,
    },
}

/// One VM as its host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// What was asked.
    pub entry: GoalEntry,
    /// What it was lent.
    pub lease: Lease,
    /// The turn of the root disk with which its disks were last all made: from then on a missing one is a loss, never made
    /// anew. `None` until they all were.
    pub provisioned: Option<u32>,
    /// How the generation of `entry` ended, if it has.
    pub outcome: Option<Outcome>,
}

/// What is left of a VM that was destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Its data disk was kept: another VM may have taken it over.
    pub keeps_data: bool,
}

/// What an accepted entry became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in the journal.
    Row(Box<JournalRow>),
    /// It asked for absence, and there is a tombstone: nothing is left to do.
    Gone,
}

/// Where a host's leases come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasePool {
    /// Ranges of addresses, none of which overlap. They are used up in this order.
    pub addresses: Cow<'static, [AddressPool]>,
    /// First of the unprivileged users.
    pub uid_first: u32,
    /// How many of them.
    pub uid_count: u32,
    /// How long what was given back is not given out again; [`LeasePool::REST`] where guests are real.
    pub rest: Duration,
}

impl LeasePool {
    /// As long as somebody may still believe that an address is that of the VM which had it: connections that the host
    /// keeps, answers that are late, neighbours' tables.
    pub const REST: Duration = Duration::from_secs(60);
}

/// What is said where all that is free still rests.
pub(crate) fn resting(what: &str, left: Duration) -> String {
    let seconds = left.as_millis().div_ceil(1000);
    format!("all free {what} of this host were given back just now; try again in {seconds} s, or widen the pool")
}

/// Durable goals and leases of one host; the source of truth for what exists on it.
///
/// # Contract
/// - Every change is one transaction and durable when it returns `Ok`.
/// - Context ids, addresses, link addresses and users are unique over all rows, those of stopped VMs too. A freed one is
///   given out again last, and not before it has rested.
/// - The generation of a VM never goes down, not even past its tombstone; an id with a tombstone never gets a row again, but
///   to remove the data disk that it kept.
/// - A data disk that was kept is taken over by one row at a time; with that row's burial it is kept on, or goes.
/// - Absence that is asked of a VM that was never heard of leaves a tombstone too: what was said of it before may still
///   be on its way, and must not make it.
/// - Host names of things ([`VmId::short`]) are unique over rows and tombstones.
///
/// Source of the contract's checks: `testkit::journal_suite!`.
#[cfg_attr(feature = "mockall", mockall::automock)]
#[async_trait]
pub trait Journal: Debug + Send + Sync + 'static {
    /// Takes on an entry: the row has its goal, spec and generation, and a lease, reserved in the same transaction.
    /// A lower generation is a `Conflict` reason `stale_generation`; the same one changes nothing and returns the row;
    /// a used-up pool is `Exhausted` reason `no_capacity`, and one of which all that is free still rests reason
    /// `lease_resting`: the message tells for how long. A goal other than absence for a tombstone is a `Conflict`
    /// reason `gone`. `secret` is kept only by the first call. Where the spec takes over a data disk, that disk was kept
    /// (else `NotFound` reason `disk_unknown`) and nobody else has it (else `Conflict` reason `disk_in_use`). Absence at a
    /// higher generation of one whose data disk was kept, and which shall not be kept on, is a row again.
    async fn accept(&self, cx: &CallCx, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted>;

    /// One row.
    async fn row(&self, cx: &CallCx, vm: VmId) -> Result<Option<JournalRow>>;

    /// At most `limit` rows after an id, in the order of ids.
    async fn rows(&self, cx: &CallCx, after: Option<VmId>, limit: usize) -> Result<Vec<JournalRow>>;

    /// Notes that the disks were all made, the root disk of this turn among them; `NotFound` without a row. A lower turn than
    /// what was noted changes nothing. Must be durable before a VM is first called running.
    async fn provisioned(&self, cx: &CallCx, vm: VmId, turn: u32) -> Result<()>;

    /// Notes how a generation ended, over what was noted of it before, unless the row has moved on: then nothing is
    /// changed, and `false` returned.
    async fn settle(&self, cx: &CallCx, vm: VmId, generation: Generation, outcome: &Outcome) -> Result<bool>;

    /// Turns the row into a tombstone and frees its lease, if its goal is absence at this very generation; else a
    /// `Conflict`. Idempotent.
    async fn bury(&self, cx: &CallCx, vm: VmId, generation: Generation) -> Result<()>;

    /// The tombstone of a VM, if it has one.
    async fn tombstone(&self, cx: &CallCx, vm: VmId) -> Result<Option<Tombstone>>;
}

/// A journal that is shared.
pub type DynJournal = Arc<dyn Journal>;
