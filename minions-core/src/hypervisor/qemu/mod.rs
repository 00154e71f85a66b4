//! Virtual machines by QEMU.
//!
//! One process a VM, which outlives the daemon, or two: QEMU, and where the kernel does not carry VSOCK, a helper that is its
//! device. Each holds a [key](crate::host::key) for life, by which it is found again; together they are the monitor: where
//! one of them is dead, the monitor is. What a live one was configured with is read from the words it was started with, never from a
//! file. Beside the guest's memory, QEMU itself takes some 60 MiB (its translation cache in emulation more), the
//! helper 4 MiB.
//!
//! Where the daemon is root, QEMU becomes the unprivileged user of its VM before a guest runs. The helper, which sees
//! nothing but the rings of one VSOCK device, stays the daemon's user: it connects to sockets that are the daemon's.
//!
//! A guest that ends leaves its monitor standing still, with its serial log in memory; whoever waits for the end is told,
//! and the log's end is kept before the monitor goes.

mod command;
mod console;
mod line;
mod machine;
mod places;
mod preflight;
mod probe;
mod start;
mod stop;
mod vsock;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::{ConsoleBox, Hypervisor, HypervisorCapabilities, VmmConfig, VmmStatus, folder};
use crate::env::{CallCx, Env};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{files, process};
use crate::types::{ByteSize, StepReport, StopHow, VmId};

pub use command::Accel;
pub use preflight::preflight;
pub use probe::{KvmProbe, KvmVerdict, probe_kvm};
pub use vsock::Vsock;

use super::bounds::{MIN_MEMORY, check};
use super::error::MonitorError;
use super::log::LastWords;
use super::process::Keys;
use super::turns::{Turn, Turns};
use line::Lines;
use machine::Machine;
use places::Places;

/// What this adapter drives and where it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuConfig {
    /// The folder of running VMs: theirs are made in it. Short, since it is part of the paths of sockets.
    pub run_dir: PathBuf,
    /// `qemu-system-x86_64`, by its absolute path.
    pub qemu: PathBuf,
    /// What carries the VSOCK of guests.
    pub vsock: Vsock,
    /// How guests run: what [`probe_kvm`] proved.
    pub accel: Accel,
    /// Most processors that a VM may have.
    pub max_vcpus: u32,
    /// Most memory that a VM may have.
    pub max_memory: ByteSize,
}

/// Virtual machines by QEMU.
#[derive(Clone, Debug)]
pub struct QemuHypervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: QemuConfig,
    version: String,
    env: Env,
    keys: Keys,
    last_words: Mutex<LastWords>,
    lines: Mutex<Lines>,
    /// Whether a monitor can become the user that its VM has.
    own_users: bool,
    /// Whether the kernel carries the packets of tap interfaces itself.
    vhost_net: bool,
    /// One change at a time for each VM, and one conversation with each monitor.
    turns: Turns,
}

impl QemuHypervisor {
    /// Finds out what it drives. The folder is made.
    pub async fn open(config: QemuConfig, env: Env) -> Result<Self> {
        MonitorError::unless_fits(&config.run_dir, places::LONGEST)?;
        let version = preflight::qemu_version(&config.qemu).await?;
        match &config.vsock {
            Vsock::Helper(program) => drop(preflight::helper_version(program).await?),
            Vsock::Kernel(device) => {
                vsock::open(device).map_err(MonitorError::io("open the kernel's VSOCK device"))?;
            }
        }
        files::make_dir(&config.run_dir).map_err(MonitorError::io("make the folder of running VMs"))?;
        Ok(Self(Arc::new(Inner {
            config,
            version,
            env,
            keys: Keys::default(),
            last_words: Mutex::default(),
            lines: Mutex::default(),
            own_users: process::may_start_as_others(),
            vhost_net: std::path::Path::new("/dev/vhost-net").exists(),
            turns: Turns::default(),
        })))
    }

    /// Never held across an await.
    fn last_words(&self) -> MutexGuard<'_, LastWords> {
        self.0.last_words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held across an await.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self, id: VmId, turn: Turn) -> OwnedMutexGuard<()> {
        self.0.turns.take(id, turn).await
    }

    fn machine(&self, id: VmId) -> Machine {
        Machine::new(self.clone(), id, Places::new(&self.0.config.run_dir, id))
    }
}

#[async_trait]
impl Hypervisor for QemuHypervisor {
    fn capabilities(&self) -> HypervisorCapabilities {
        HypervisorCapabilities {
            name: "qemu".to_owned(),
            version: self.0.version.clone(),
            accelerated: self.0.config.accel == Accel::Kvm,
            simulated: false,
            // QEMU opens its disks when it is started.
            early_process: false,
            pause: true,
            capture: false,
            online_growth: true,
            max_vcpus: self.0.config.max_vcpus,
            min_memory: MIN_MEMORY,
            max_memory: self.0.config.max_memory,
        }
    }

    async fn ensure_process(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        check(config, self.0.config.max_vcpus, self.0.config.max_memory)?;
        let config = config.clone();
        let machine = self.machine(config.id);
        self.0.turns.change(cx, config.id, async move { machine.start(&config).await }).await
    }

    async fn ensure_running(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        check(config, self.0.config.max_vcpus, self.0.config.max_memory)?;
        let (id, config) = (config.id, config.clone());
        let machine = self.machine(id);
        let work = async move {
            let report = machine.start(&config).await?;
            machine.boot().await?;
            Ok::<_, MonitorError>(report)
        };
        self.0.turns.change(cx, id, work).await
    }

    async fn ensure_paused(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        let machine = self.machine(id);
        self.0.turns.change(cx, id, async move { machine.pause().await.map(|()| StepReport::empty()) }).await
    }

    async fn ensure_captured(&self, _: &CallCx, _: VmId, _: &Path) -> Result<StepReport> {
        Err(Error::new(ErrorKind::Unsupported, "a guest of QEMU cannot be written down here"))
    }

    async fn ensure_disks(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        let (id, config) = (config.id, config.clone());
        let machine = self.machine(id);
        let show = async move { machine.show_disks(&config).await.map(|()| StepReport::empty()) };
        self.0.turns.change(cx, id, show).await
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId, how: &StopHow) -> Result<StepReport> {
        let (machine, call, how) = (self.machine(id), *cx, *how);
        self.0.turns.change(cx, id, async move { machine.stop(&call, &how).await }).await
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<VmmStatus>> {
        cx.bound(async { Ok(self.machine(id).status().await?) }).await
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        folder::list(cx, &self.0.config.run_dir, &self.0.turns).await
    }

    async fn wait_exit(&self, cx: &CallCx, id: VmId) -> Result<()> {
        cx.bound(async { Ok(self.machine(id).wait_exit().await?) }).await
    }

    async fn console_log(&self, cx: &CallCx, id: VmId, max: usize) -> Result<Vec<u8>> {
        cx.bound(async { Ok(self.machine(id).console(max).await?) }).await
    }

    async fn console(&self, cx: &CallCx, id: VmId, tail: usize) -> Result<ConsoleBox> {
        // On a task of its own: a caller that is gone must not leave a line that ends nowhere.
        let machine = self.machine(id);
        let task = tokio::spawn(async move { machine.attach(tail).await });
        cx.bound(async {
            let attached = task.await.map_err(|error| Error::internal("attaching ended early").with_source(error))?;
            Ok(attached?)
        })
        .await
    }
}
