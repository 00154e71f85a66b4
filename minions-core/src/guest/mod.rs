//! Port 4: the one road into a guest, and out of it.

pub mod client;
#[cfg(any(feature = "vsock", all(feature = "vhost-vsock", target_os = "linux")))]
mod door;
mod ext;
#[cfg(any(feature = "vsock", all(feature = "vhost-vsock", target_os = "linux")))]
mod stream;

#[cfg(all(feature = "vhost-vsock", target_os = "linux"))]
pub mod vhost;
#[cfg(feature = "vsock")]
pub mod vsock;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::env::CallCx;
use crate::error::Result;
use crate::types::{Cid, StepReport, VmId};

pub use ext::{GuestChannelExt, GuestReady};

/// The port on which the agent listens in the guest. Privileged there: only root can take it.
pub const AGENT_PORT: u32 = 1023;

/// The port on which the host listens for the guest's "ready".
pub const READY_PORT: u32 = 1024;

/// A byte stream to or from a guest. Half-close does not exist on every transport: end of stream is a frame.
pub trait GuestIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> GuestIo for T {}

/// A boxed [`GuestIo`].
pub type GuestIoBox = Box<dyn GuestIo>;

/// What a guest channel can do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GuestCapabilities {
    /// Its name, such as `vsock`.
    pub name: String,
    /// Whether its guests are simulated.
    pub simulated: bool,
    /// Most connections at a time for one VM.
    pub max_connections: usize,
}

/// How a VM's door on the host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorState {
    /// Nothing is left of it.
    Absent,
    /// Something is left of it, but this process does not listen there: it was made by one that has ended.
    Stale,
    /// This process listens there.
    Open,
}

/// The one road into a guest, and out of it.
///
/// # Contract
/// - Every `ensure_` method is idempotent, and cancel-safe: dropping the future never leaves state that
///   [`list`](Self::list) cannot see.
/// - Which VM a connection belongs to follows from the door it came through, never from its bytes.
/// - Every byte from a guest is hostile. A guest that is mute or slow delays nobody else.
/// - Dropping a stream closes it on both sides.
///
/// Source of the contract's checks: `testkit::guest_suite!`.
#[cfg_attr(feature = "mockall", mockall::automock)]
#[async_trait]
pub trait GuestChannel: Debug + Send + Sync + 'static {
    /// What this one can do; does not change while it lives.
    fn capabilities(&self) -> GuestCapabilities;

    /// The VM's door on the host is there: a guest that dials [`READY_PORT`] from now on is heard. Call it before the
    /// guest boots, and again after this process has restarted.
    async fn ensure_open(&self, cx: &CallCx, id: VmId, cid: Cid) -> Result<StepReport>;

    /// The door is gone, and every connection through it.
    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport>;

    /// Dials a VSOCK port in the guest. `NotFound` where there is no such VM or door, `Unavailable` where nobody
    /// answers.
    async fn connect(&self, cx: &CallCx, id: VmId, port: u32) -> Result<GuestIoBox>;

    /// The next connection that the guest made to [`READY_PORT`]. Waits for one; at most a few unaccepted ones are kept,
    /// the newest win. `NotFound` where there is no door.
    async fn accept(&self, cx: &CallCx, id: VmId) -> Result<GuestIoBox>;

    /// How a VM's door stands.
    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<DoorState>;

    /// Every id of which a door is left.
    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>>;
}

/// A guest channel that is shared.
pub type DynGuestChannel = Arc<dyn GuestChannel>;
