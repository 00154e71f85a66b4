//! Port 3: network ports of one host's VMs.

#[cfg(feature = "bridge")]
pub mod bridge;
#[cfg(feature = "user-network")]
pub mod user;

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::env::CallCx;
use crate::error::Result;
use crate::types::{AddressPool, MacAddr, NicAttachment, PortPolicy, StepReport, VmId};

/// What a network port shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Whose it is.
    pub id: VmId,
    /// The address it is pinned to.
    pub ip: Ipv4Addr,
    /// The link address it is pinned to.
    pub mac: MacAddr,
    /// The user whose monitor opens it.
    pub uid: u32,
    /// What it lets through.
    pub policy: PortPolicy,
}

/// What was observed of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// How a monitor opens it, and what the guest is told. `None`: something is left of it, but it is not whole, not
    /// pinned or not up.
    pub nic: Option<NicAttachment>,
}

/// What a network can do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NetworkCapabilities {
    /// Its name, such as `user`.
    pub name: String,
    /// Whether guests are kept from the host, from each other and from private networks.
    pub isolated: bool,
    /// Whether it carries packets at all.
    pub simulated: bool,
    /// Whether a port can be held to a rate.
    pub rate_limits: bool,
    /// What guests get their addresses from, in the order in which they are used up. They do not overlap.
    pub pools: Vec<AddressPool>,
}

/// Network ports of one host's VMs.
///
/// # Contract
/// - Every method is idempotent: repeating a call that already took effect is `Ok`.
/// - An `Err` says through `Error::effect()` whether the effect may have happened.
/// - Methods are cancel-safe: dropping the future never leaves state that [`list`](Self::list) cannot see.
/// - Where it is `isolated`, the rules that pin a port to its addresses stand before the port comes up: without them
///   the port stays down.
/// - An object that this adapter did not make is never changed.
///
/// Source of the contract's checks: `testkit::network_suite!`.
#[cfg_attr(feature = "mockall", mockall::automock)]
#[async_trait]
pub trait Network: Debug + Send + Sync + 'static {
    /// What this one can do; does not change while it lives.
    fn capabilities(&self) -> NetworkCapabilities;

    /// The port is there, pinned and up, with this policy: one that is up takes on another policy at once. An existing one
    /// with other addresses is `AlreadyExists`; an address in no pool is `InvalidArgument`.
    async fn ensure_port(&self, cx: &CallCx, config: &PortConfig) -> Result<StepReport>;

    /// The port and its rules are gone. `Conflict` while a monitor has it open.
    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport>;

    /// One port; `None` only when nothing of it is left.
    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<PortStatus>>;

    /// Every id of which anything is left.
    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>>;
}

/// A network that is shared.
pub type DynNetwork = Arc<dyn Network>;
