//! Virtual machines by Cloud Hypervisor.
//!
//! One process a VM, which outlives the daemon. It holds a [key](crate::host::key) for life, by which it is found again;
//! its epoch is part of the words that it was started with, and the rest it tells itself. It comes up empty, before disks and
//! network port exist; the VM is made and booted through its control socket. A monitor ends with its guest: one that powers
//! itself off, and one that starts itself anew. When the daemon leaves its serial line, the guest reads a NUL byte from it; and
//! when it dies with something of the line unread, the line is silent until the VM is started again: both are the
//! monitor's (version 53).
//!
//! Its own filter of system calls is on, and Landlock around exactly its files where the kernel's is new enough. The
//! [jail](crate::host::jail) does the rest: where the daemon is root, the monitor is a user of its VM's own without any
//! capability, and sees nothing of the host but what it needs; and what it takes is limited.

mod capture;
mod command;
mod event;
mod fence;
mod line;
mod machine;
mod places;
mod preflight;
mod probe;
mod start;
mod stop;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::bounds::{MIN_MEMORY, check};
use super::error::MonitorError;
use super::log::LastWords;
use super::process::Keys;
use super::turns::{Turn, Turns};
use super::{ConsoleBox, Hypervisor, HypervisorCapabilities, VmmConfig, VmmPhase, VmmStatus, folder};
use crate::env::{CallCx, Env};
use crate::error::Result;
use crate::host::files;
use crate::host::jail::Means;
use crate::types::{ByteSize, StepReport, StopHow, VmId};

pub use preflight::preflight;
pub use probe::probe_kvm;

use line::Lines;
use machine::Machine;
use places::Places;

/// What this adapter drives and where it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudHypervisorConfig {
    /// The folder of running VMs: theirs are made in it. Short, since it is part of the paths of sockets.
    pub run_dir: PathBuf,
    /// `cloud-hypervisor`, by its absolute path.
    pub program: PathBuf,
    /// The program that carries out the [plans](crate::host::jail::Plan) of jails, started with the word `jail`: one that calls
    /// [`enter`](crate::host::jail::enter). Without it a monitor is fenced in by nothing but its own filters.
    pub jail: Option<PathBuf>,
    /// Most processors that a VM may have.
    pub max_vcpus: u32,
    /// Most memory that a VM may have.
    pub max_memory: ByteSize,
}

/// Virtual machines by Cloud Hypervisor.
#[derive(Clone, Debug)]
pub struct CloudHypervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: CloudHypervisorConfig,
    version: String,
    env: Env,
    /// What this host has to fence a monitor in with.
    means: Means,
    keys: Keys,
    last_words: Mutex<LastWords>,
    lines: Mutex<Lines>,
    /// One change at a time for each VM, and one conversation with each monitor.
    turns: Turns,
}

impl CloudHypervisor {
    /// Finds out what it drives. The folder is made.
    pub async fn open(config: CloudHypervisorConfig, env: Env) -> Result<Self> {
        MonitorError::unless_fits(&config.run_dir, places::LONGEST)?;
        let version = preflight::version(&config.program).await?;
        let means = if config.jail.is_some() { Means::of_host() } else { Means::unjailed() };
        files::make_dir(&config.run_dir).map_err(MonitorError::io("make the folder of running VMs"))?;
        Ok(Self(Arc::new(Inner {
            config,
            version,
            env,
            means,
            keys: Keys::default(),
            last_words: Mutex::default(),
            lines: Mutex::default(),
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
impl Hypervisor for CloudHypervisor {
    fn capabilities(&self) -> HypervisorCapabilities {
        HypervisorCapabilities {
            name: "cloud-hypervisor".to_owned(),
            version: self.0.version.clone(),
            accelerated: true,
            simulated: false,
            early_process: true,
            pause: true,
            capture: true,
            online_growth: true,
            max_vcpus: self.0.config.max_vcpus,
            min_memory: MIN_MEMORY,
            max_memory: self.0.config.max_memory,
        }
    }

    async fn ensure_process(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        check(config, self.0.config.max_vcpus, self.0.config.max_memory)?;
        let (id, config) = (config.id, config.clone());
        let machine = self.machine(id);
        self.0.turns.change(cx, id, async move { machine.start(&config, true).await.map(|(_, report)| report) }).await
    }

    async fn ensure_running(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        check(config, self.0.config.max_vcpus, self.0.config.max_memory)?;
        let (id, config) = (config.id, config.clone());
        let machine = self.machine(id);
        let work = async move {
            let (phase, mut report) = machine.start(&config, false).await?;
            if phase != VmmPhase::Running {
                report.marks.extend(machine.boot(&config).await?.marks);
            }
            Ok::<_, MonitorError>(report)
        };
        self.0.turns.change(cx, id, work).await
    }

    async fn ensure_paused(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        let machine = self.machine(id);
        self.0.turns.change(cx, id, async move { machine.pause().await.map(|()| StepReport::empty()) }).await
    }

    async fn ensure_captured(&self, cx: &CallCx, id: VmId, folder: &Path) -> Result<StepReport> {
        let (machine, folder) = (self.machine(id), folder.to_owned());
        self.0.turns.change(cx, id, async move { machine.capture(&folder).await.map(|()| StepReport::empty()) }).await
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
        cx.bound(async { Ok(self.machine(id).attach(tail).await?) }).await
    }
}
