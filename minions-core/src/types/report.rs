//! What a host reports of its VMs.

use std::net::Ipv4Addr;

use super::fences::Fences;
use super::{BootMark, Generation, Goal, StateReason, UnixMillis, VmId, VmSize, VmState};
use crate::error::ErrorKind;

/// One VM as its host reports it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeVm {
    /// Which VM.
    pub vm: VmId,
    /// The generation that the host works on or has reached.
    pub generation: Generation,
    /// Its goal.
    pub goal: Goal,
    /// What people see.
    pub state: VmState,
    /// Why, where that is not plain.
    pub reason: Option<StateReason>,
    /// Since when.
    pub since: UnixMillis,
    /// When something last moved on the way to the goal.
    pub last_progress: UnixMillis,
    /// Whether the generation's goal was met or given up, durably.
    pub settled: Option<Settled>,
    /// Its address inside the host.
    pub ip: Option<Ipv4Addr>,
    /// How often its monitor was started again because it had died.
    pub restarts: u32,
    /// What its monitor was started with, where one is alive and the host can tell.
    #[serde(default)]
    pub size: Option<VmSize>,
    /// What keeps its monitor apart from the host, where one is alive.
    #[serde(default)]
    pub fences: Option<Fences>,
    /// What took how long on the way to this generation's goal.
    pub marks: Vec<BootMark>,
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "settled")]
pub enum Settled {
    /// As asked, and observed.
    Met,
    /// Given up.
    GivenUp {
        /// For programs.
        kind: ErrorKind,
        /// For people.
        reason: StateReason,
    },
    /// Nothing is left but a tombstone.
    Gone,
}

/// A page of changes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeChanges {
    /// Where the next page begins.
    pub next: u64,
    /// The latest of each VM that changed, not every step between.
    pub vms: Vec<NodeVm>,
}
