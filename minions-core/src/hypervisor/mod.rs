//! Port 1: runs virtual machine monitors on one host.

#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod bounds;
#[cfg(feature = "cloud-hypervisor")]
pub mod cloud_hypervisor;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod cmdline;
mod console;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod error;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod folder;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod initrd;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod log;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod probe;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod process;
#[cfg(feature = "qemu")]
pub mod qemu;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod record;
#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
mod turns;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::env::CallCx;
use crate::error::Result;
use crate::types::{
    AgentSecret, BootFiles, ByteSize, Cid, DiskAttachment, Fences, NicAttachment, StepReport, StopHow, UnixMillis,
    Vcpus, VmId, VmSize,
};

#[cfg(any(feature = "cloud-hypervisor", feature = "qemu"))]
pub use probe::KvmVerdict;

pub use console::{ConsoleBox, ConsoleIo, HELD, Line};

/// What a monitor shall run. Everything in it was made by other ports before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmmConfig {
    /// Whose it is.
    pub id: VmId,
    /// Which start of this VM it is; rises with each.
    pub epoch: u64,
    /// Processors.
    pub vcpus: Vcpus,
    /// Memory.
    pub memory: ByteSize,
    /// Kernel and initrd.
    pub boot: BootFiles,
    /// What the image adds to the kernel's command line.
    pub cmdline: String,
    /// The guest's host name.
    pub hostname: String,
    /// Its disks, the root first.
    pub disks: Vec<DiskAttachment>,
    /// Its network port.
    pub nic: Option<NicAttachment>,
    /// Its VSOCK context id.
    pub cid: Cid,
    /// Reaches the guest in a way that only its root can read; never on the command line.
    pub secret: AgentSecret,
    /// The unprivileged user to run as, where the host can.
    pub uid: u32,
    /// Goes on from what [`Hypervisor::ensure_captured`] put into this folder, in place of booting.
    pub restore: Option<PathBuf>,
}

/// What a monitor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmmPhase {
    /// Its process is up; nothing is booted.
    Prepared,
    /// Its guest runs.
    Running,
    /// Its guest was halted by [`Hypervisor::ensure_paused`].
    Paused,
    /// It is dead, or its guest has ended and it stands still, and something of it is left: a process, files, a socket.
    /// `ensure_absent` clears it away.
    Exited,
}

/// What was observed of a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmmStatus {
    /// The epoch it was configured with.
    pub epoch: u64,
    /// What it is doing.
    pub phase: VmmPhase,
    /// When it was started.
    pub since: UnixMillis,
    /// What it was configured with, where it is alive and can tell.
    pub size: Option<VmSize>,
    /// What keeps it apart from its host, where it is alive.
    pub fences: Fences,
}

/// What a hypervisor can do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HypervisorCapabilities {
    /// Its name, such as `qemu`.
    pub name: String,
    /// The version of what it drives.
    pub version: String,
    /// Whether guests run on the processor rather than in emulation.
    pub accelerated: bool,
    /// Whether it runs real machines at all.
    pub simulated: bool,
    /// Whether `ensure_process` can be done before disks and network port exist.
    pub early_process: bool,
    /// Whether a guest can be halted and go on.
    pub pause: bool,
    /// Whether a halted guest can be written down, and another monitor go on from there.
    pub capture: bool,
    /// Whether a guest that runs can be shown that its disks have grown.
    pub online_growth: bool,
    /// Most processors that a VM may have.
    pub max_vcpus: u32,
    /// Least memory that a VM may have: what a guest boots with here.
    pub min_memory: ByteSize,
    /// Most memory that a VM may have.
    pub max_memory: ByteSize,
}

/// Runs virtual machine monitors on one host.
///
/// # Contract
/// - Every method is idempotent: repeating a call that already took effect is `Ok`.
/// - An `Err` says through `Error::effect()` whether the effect may have happened.
/// - Methods are cancel-safe: dropping the future never leaves state that [`list`](Self::list) cannot see.
/// - At most one monitor exists for an id, and it outlives this process. It is found again by a key it holds, such as
///   a lock or its own socket, never by a process id that was written down.
/// - A monitor never opens a disk or a network port that `config` does not name.
///
/// Source of the contract's checks: `testkit::hypervisor_suite!`.
#[cfg_attr(feature = "mockall", mockall::automock)]
#[async_trait]
pub trait Hypervisor: Debug + Send + Sync + 'static {
    /// What this one can do; does not change while it lives.
    fn capabilities(&self) -> HypervisorCapabilities;

    /// The monitor's process is up and holds the id's key; nothing is booted. With a monitor of a lower epoch still
    /// alive it is a `Conflict`.
    async fn ensure_process(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport>;

    /// The guest runs. Needs the disks and ports that `config` names: without them `NotFound`. A live monitor of the
    /// same epoch is success, and a halted one goes on; of another one it is a `Conflict`. What is left of a dead one is
    /// cleared away first.
    async fn ensure_running(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport>;

    /// The guest is halted, and a halted one stays so. `Conflict` where it does not run. `Unsupported` without the
    /// capability.
    async fn ensure_paused(&self, cx: &CallCx, id: VmId) -> Result<StepReport>;

    /// The halted guest's memory and devices are in this folder, which exists and is empty or holds an unfinished try. What
    /// is on its disks is not in it. `Conflict` where it is not halted. `Unsupported` without the capability.
    async fn ensure_captured(&self, cx: &CallCx, id: VmId, folder: &Path) -> Result<StepReport>;

    /// The guest sees the disks of `config` at the size that they have now. `Conflict` where no monitor of that epoch has a
    /// guest. `Unsupported` without the capability.
    async fn ensure_disks(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport>;

    /// No process, socket, lock or file of the id's monitor is left. Goes down the ladder: with
    /// [`StopHow::Graceful`] the guest is asked first by what the monitor has (a power button), then ended.
    /// The grace counts within the call's deadline.
    async fn ensure_absent(&self, cx: &CallCx, id: VmId, how: &StopHow) -> Result<StepReport>;

    /// The monitor of an id; `None` only when nothing of it is left on the host. A dead one of which something is left is
    /// [`VmmPhase::Exited`].
    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<VmmStatus>>;

    /// Every id of which anything is left on the host, alive or not.
    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>>;

    /// Waits until the monitor of an id is dead or gone, or its guest has ended, and returns at once where none is alive.
    /// Never polls.
    async fn wait_exit(&self, cx: &CallCx, id: VmId) -> Result<()>;

    /// At most `max` bytes from the end of the guest's serial log, as the guest wrote them: hostile. The log of a guest
    /// that ended by itself may be told for a while after its end.
    async fn console_log(&self, cx: &CallCx, id: VmId, max: usize) -> Result<Vec<u8>>;

    /// Attaches to the guest's serial line. What is read begins with at most `tail` bytes from the end of the log and goes
    /// on with all that the guest prints: hostile. What is written is typed. `NotFound` where no monitor is alive.
    ///
    /// - Several may be attached at a time, and each reads everything. One who does not read stalls neither the guest nor
    ///   the others: beyond [`HELD`] bytes it loses the oldest, and a line in their place says how many. A guest that
    ///   does not take what is typed stalls nobody who reads.
    /// - Nothing is lost while somebody is attached. What the guest prints in the moment in which the first one comes may be,
    ///   where a monitor has to turn the line for it; each implementation says so.
    /// - The log goes on: what was read here is told by [`console_log`](Self::console_log) as well.
    /// - The end of the stream is the end of the monitor. Dropping it detaches; closing its writing half only ends the
    ///   typing.
    async fn console(&self, cx: &CallCx, id: VmId, tail: usize) -> Result<ConsoleBox>;
}

/// A hypervisor that is shared.
pub type DynHypervisor = Arc<dyn Hypervisor>;
