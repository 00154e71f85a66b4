//! Port 6: one host as the fleet sees it.

mod local;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use local::LocalNode;

pub use crate::types::{NodeChanges, NodeVm, Settled};

use crate::api::guest::GuestCall;
use crate::env::CallCx;
use crate::error::Result;
use crate::guest::{GuestCapabilities, GuestIoBox};
use crate::hypervisor::{ConsoleBox, HypervisorCapabilities};
use crate::network::NetworkCapabilities;
use crate::storage::{StorageCapabilities, StorageUsage};
use crate::store::GoalEntry;
use crate::types::{HostId, ImageBundle, ImageId, ImageInfo, VmId};

/// What a host is and has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeInfo {
    /// Its id.
    pub host: HostId,
    /// Its hypervisor.
    pub hypervisor: HypervisorCapabilities,
    /// Its storage.
    pub storage: StorageCapabilities,
    /// How full that is.
    pub usage: StorageUsage,
    /// Its network.
    pub network: NetworkCapabilities,
    /// Its road into guests.
    pub guest: GuestCapabilities,
    /// VMs in its journal.
    pub vms: u64,
    /// Volumes that nobody could explain. Not empty means that something is wrong.
    pub quarantined: u64,
}

/// One host as the fleet sees it.
///
/// # Contract
/// - [`apply`](Self::apply) is idempotent and durable when it returns; the work goes on without the caller.
/// - A lower generation than one applied before is refused, for ever.
/// - What [`observe`](Self::observe) reports is never better than what is.
#[cfg_attr(feature = "mockall", mockall::automock)]
#[async_trait]
pub trait Node: Debug + Send + Sync + 'static {
    /// What it is and has.
    async fn info(&self, cx: &CallCx) -> Result<NodeInfo>;

    /// Takes on what was asked. Returns the VM as it is at that moment.
    async fn apply(&self, cx: &CallCx, entry: &GoalEntry) -> Result<NodeVm>;

    /// One VM; `None` where the host has never heard of it.
    async fn observe(&self, cx: &CallCx, vm: VmId) -> Result<Option<NodeVm>>;

    /// What changed after a place; waits until something does, or until the deadline, and then returns an empty page.
    /// Every VM that was applied shows up here, each at most once a page.
    async fn changes(&self, cx: &CallCx, after: u64) -> Result<NodeChanges>;

    /// A call into the VM's guest: the connection is proven, the call sent. What follows on it are the raw frames of
    /// that call. A VM that is on its way to run is waited for, ten seconds at most: then `Unavailable` with the reason
    /// `starting`.
    async fn open(&self, cx: &CallCx, vm: VmId, call: &GuestCall) -> Result<GuestIoBox>;

    /// At most `max` bytes from the end of the guest's serial log: hostile.
    async fn console_log(&self, cx: &CallCx, vm: VmId, max: usize) -> Result<Vec<u8>>;

    /// The guest's serial line, as [`Hypervisor::console`](crate::hypervisor::Hypervisor::console) gives it. A VM that is on
    /// its way to run is waited for, ten seconds at most: then `Unavailable` with the reason `starting`.
    async fn console(&self, cx: &CallCx, vm: VmId, tail: usize) -> Result<ConsoleBox>;

    /// Takes in an image.
    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<()>;

    /// Forgets an image. `Conflict` while a VM needs it.
    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<()>;

    /// Every image.
    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>>;
}

/// A node that is shared.
pub type DynNode = Arc<dyn Node>;
