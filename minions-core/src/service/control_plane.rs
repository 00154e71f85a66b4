//! The one face of the service: in process, and over HTTP.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::caller::Caller;
use crate::api::guest::GuestCall;
use crate::api::v1;
use crate::error::{Error, Result};
use crate::guest::GuestIoBox;
use crate::hypervisor::ConsoleBox;
use crate::types::{EventSeq, ImageBundle, ImageId, OperationId, VmId, VmName};

/// A VM by its name or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmRef {
    /// By id.
    Id(VmId),
    /// By the name it has now.
    Name(VmName),
}

impl FromStr for VmRef {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        // An underscore is in every id and in no name.
        if text.contains('_') { text.parse().map(Self::Id) } else { text.parse().map(Self::Name) }
    }
}

impl fmt::Display for VmRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => fmt::Display::fmt(id, f),
            Self::Name(name) => fmt::Display::fmt(name, f),
        }
    }
}

/// A caller's own name for one request: repeating it has no second effect and the same result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid("idempotency-key", "an idempotency key has 1 to 128 visible ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What an owner asks of a VM that exists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
#[expect(missing_docs, reason = "the request types are documented")]
pub enum VmAction {
    Start(v1::StartVm),
    Stop(v1::StopVm),
    Restart(v1::RestartVm),
    Destroy(v1::DestroyVm),
    Rename(v1::RenameVm),
    Resize(v1::ResizeVm),
    Rebase(v1::RebaseVm),
    DeleteDisk(v1::DeleteDisk),
    Expose(v1::ExposeVm),
    Share(v1::ShareVm),
}

/// The one face of the service. Edges hold nothing else, so that none can go around its authorisation.
///
/// # Contract
/// - What is not the caller's is `NotFound`, word for word as if it were not there; an admin sees everything.
/// - A mutation is durable when it returns its operation; the work goes on without the caller.
/// - The same idempotency key with the same request returns the same operation, with another request it is
///   `InvalidArgument` reason `idempotency_key_reused`.
#[async_trait]
pub trait ControlPlane: fmt::Debug + Send + Sync + 'static {
    /// Creates a VM and starts it.
    async fn create(
        &self,
        caller: &Caller,
        request: &v1::CreateVm,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation>;

    /// Changes a VM.
    async fn act(
        &self,
        caller: &Caller,
        vm: &VmRef,
        action: &VmAction,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation>;

    /// One VM. By id, a tombstone too.
    async fn vm(&self, caller: &Caller, vm: &VmRef) -> Result<v1::Vm>;

    /// A page of VMs.
    async fn vms(&self, caller: &Caller, query: &v1::ListVms) -> Result<v1::VmPage>;

    /// A page of the data disks that destroyed VMs left.
    async fn disks(&self, caller: &Caller, query: &v1::ListDisks) -> Result<v1::DiskPage>;

    /// An operation; waits up to `wait` for it to end, and returns it as it then is.
    async fn operation(&self, caller: &Caller, id: OperationId, wait: Duration) -> Result<v1::Operation>;

    /// At most `limit` events after a place; waits up to `wait` for the first. After place 0 they begin with the oldest that
    /// is kept; where one after any other place is no longer kept, it is `NotFound` reason `events_pruned` (410 over HTTP):
    /// the reader looks at the VMs anew, and goes on from [`last_event`](Self::last_event) as it was before that look.
    async fn events(&self, caller: &Caller, after: EventSeq, limit: usize, wait: Duration) -> Result<v1::EventPage>;

    /// The place of the last event: where a reader begins that wants only new ones.
    async fn last_event(&self, caller: &Caller) -> Result<EventSeq>;

    /// A call into a guest. What follows on the stream are the raw frames of that one call.
    async fn open(&self, caller: &Caller, vm: &VmRef, call: &GuestCall) -> Result<GuestIoBox>;

    /// A byte stream to a TCP port of a VM, for a visitor who came through a front door; `None` is anybody. What is not
    /// public, not the visitor's and not shared with them is `NotFound`; `Denied` reason `not_running` where the VM is not
    /// to run. What follows on the stream are the raw frames of one forward.
    async fn visit(&self, visitor: Option<&Caller>, vm: VmId, port: u16) -> Result<GuestIoBox>;

    /// The place in the stream of events that every change that was acknowledged is at or before, where that is known
    /// without asking anybody; `None` where the service is elsewhere. A front door that has read as far as this sends
    /// nobody to what a name stood for before.
    fn head(&self) -> Option<EventSeq>;

    /// At most `max` bytes from the end of the guest's serial log: hostile.
    async fn console_log(&self, caller: &Caller, vm: &VmRef, max: usize) -> Result<Vec<u8>>;

    /// The guest's serial line: what is read begins with at most `tail` bytes from the end of its log and goes on until its
    /// monitor ends, what is written is typed. Hostile. `Denied` reason `not_running` where the VM is not to run.
    async fn console(&self, caller: &Caller, vm: &VmRef, tail: usize) -> Result<ConsoleBox>;

    /// Every image.
    async fn images(&self, caller: &Caller) -> Result<v1::ImageList>;

    /// Takes in an image whose files lie on the host. Admins only.
    async fn import_image(&self, caller: &Caller, bundle: &ImageBundle) -> Result<v1::Image>;

    /// Forgets an image. Admins only; `Conflict` while a VM needs it.
    async fn delete_image(&self, caller: &Caller, id: ImageId) -> Result<()>;

    /// What the service runs on.
    async fn host(&self, caller: &Caller) -> Result<v1::HostStatus>;
}

/// A control plane that is shared.
pub type DynControlPlane = Arc<dyn ControlPlane>;
