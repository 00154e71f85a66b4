//! The hypervisor view of a simulated host.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::model::{Model, Monitor};
use super::serial::Serial;
use super::{InMemoryHost, KERNEL_RELEASE, conflict, micros, takes};
use crate::env::CallCx;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::hypervisor::{ConsoleBox, Hypervisor, HypervisorCapabilities, VmmConfig, VmmPhase, VmmStatus};
use crate::types::{ByteSize, DiskAttachment, DiskRole, Fences, StepReport, StopHow, VmId, VmSize};

/// The hypervisor of an [`InMemoryHost`].
#[derive(Clone, Debug)]
pub struct InMemoryHypervisor(InMemoryHost);

impl InMemoryHypervisor {
    pub(super) fn new(host: InMemoryHost) -> Self {
        Self(host)
    }

    fn timings(&self) -> super::Timings {
        self.0.lock().settings.timings.clone()
    }

    /// Waits until the monitor with this process id has ended, for at most as long.
    async fn ended_within(&self, id: VmId, pid: u32, time: Duration) {
        let alive = match self.0.lock().monitors.get(&id) {
            Some(monitor) if monitor.pid == pid => monitor.alive.subscribe(),
            _ => return,
        };
        // Either it ended, or the time is over: the caller looks.
        let _ = tokio::time::timeout(time, gone(alive)).await;
    }
}

/// Resolves when the monitor that held the other end is gone.
async fn gone(mut alive: watch::Receiver<()>) {
    while alive.changed().await.is_ok() {}
}

/// `true` if a monitor of the wanted epoch is there.
fn has_epoch(model: &Model, config: &VmmConfig) -> Result<bool> {
    let Some(monitor) = model.monitors.get(&config.id) else { return Ok(false) };
    match monitor.config.epoch.cmp(&config.epoch) {
        Ordering::Equal => Ok(true),
        Ordering::Less | Ordering::Greater => Err(conflict(format!(
            "{} has a monitor of epoch {}, not {}; end it first",
            config.id, monitor.config.epoch, config.epoch
        ))),
    }
}

fn check_limits(model: &Model, config: &VmmConfig) -> Result<()> {
    let limits = &model.settings.limits;
    if config.vcpus.0 == 0 || config.vcpus.0 > limits.max_vcpus {
        return Err(Error::invalid("vcpus", format!("a VM has 1 to {} processors", limits.max_vcpus)));
    }
    if config.memory < limits.min_memory || config.memory > limits.max_memory {
        let text = format!("a VM here has {} to {} of memory", limits.min_memory, limits.max_memory);
        return Err(Error::invalid("memory", text));
    }
    let memory = model.monitors.values().map(|monitor| monitor.config.memory.get()).fold(0, u64::saturating_add);
    let full = model.monitors.len() >= limits.max_vms
        || memory.saturating_add(config.memory.get()) > limits.max_total_memory.get();
    if full {
        return Err(
            Error::new(ErrorKind::Exhausted, "the host has no room for another monitor").with_reason("no_capacity")
        );
    }
    if let Some(other) = model.monitors.values().find(|other| other.config.cid == config.cid) {
        let message = format!("{} has the VSOCK context id {}", other.config.id, config.cid.get());
        return Err(conflict(message));
    }
    Ok(())
}

fn spawn(model: &mut Model, config: &VmmConfig) -> Result<()> {
    check_limits(model, config)?;
    let early = model.settings.limits.early_process;
    let open = if early { Vec::new() } else { model.resolve(config)? };
    let monitor = Monitor {
        config: config.clone(),
        phase: VmmPhase::Prepared,
        pid: model.next_pid(),
        since: model.clock.wall(),
        open,
        has_devices: !early,
        alive: watch::Sender::new(()),
        tasks: Vec::new(),
        shown: BTreeMap::new(),
        serial: Serial::default(),
        hostname: config.hostname.clone(),
        guest_pids: 0,
        booted: tokio::time::Instant::now(),
    };
    model.residues.remove(&config.id);
    model.monitors.insert(config.id, monitor);
    Ok(())
}

/// How large the disks are now.
fn sizes(model: &Model, disks: &[DiskAttachment]) -> Result<BTreeMap<DiskRole, ByteSize>> {
    let size = |disk: &DiskAttachment| {
        let volume = super::model::volume_of(&disk.path).and_then(|id| model.volumes.get(&id));
        volume.map(|volume| (disk.role, volume.size))
    };
    let missing = |disk: &DiskAttachment| Error::not_found(format!("no volume at {}", disk.path.display()));
    disks.iter().map(|disk| size(disk).ok_or_else(|| missing(disk))).collect()
}

fn start(model: &mut Model, host: &InMemoryHost, config: &VmmConfig) -> Result<()> {
    if let Some(kind) = model.behaviour(config.id).start_fails {
        model.end_monitor(config.id);
        return Err(Error::new(kind, "the simulated guest was told not to start").with_effect(Effect::Unknown));
    }
    let open = model.resolve(config)?;
    let sizes = sizes(model, &config.disks)?;
    let behaviour = model.behaviour(config.id).clone();
    let Some(monitor) = model.monitors.get_mut(&config.id) else {
        return Err(conflict(format!("the monitor of {} ended while it was started", config.id)));
    };
    monitor.open = open;
    monitor.has_devices = true;
    monitor.shown = sizes;
    let resumed = std::mem::replace(&mut monitor.phase, VmmPhase::Running) == VmmPhase::Paused;
    monitor.booted = tokio::time::Instant::now();
    if resumed {
        return Ok(());
    }
    let line = format!("[    0.000000] Linux version {KERNEL_RELEASE} (simulated) {}\r\n", config.cmdline);
    monitor.serial.print(line.as_bytes());
    host.power_on(monitor, &behaviour);
    Ok(())
}

#[async_trait]
impl Hypervisor for InMemoryHypervisor {
    fn capabilities(&self) -> HypervisorCapabilities {
        let limits = &self.0.lock().settings.limits;
        HypervisorCapabilities {
            name: "memory".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            accelerated: false,
            simulated: true,
            early_process: limits.early_process,
            pause: true,
            capture: false,
            online_growth: true,
            max_vcpus: limits.max_vcpus,
            min_memory: limits.min_memory,
            max_memory: limits.max_memory,
        }
    }

    async fn ensure_process(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        if has_epoch(&self.0.lock(), config)? {
            return Ok(StepReport::empty());
        }
        let time = self.timings().spawn;
        takes(cx, time).await?;
        let mut model = self.0.lock();
        if !has_epoch(&model, config)? {
            spawn(&mut model, config)?;
        }
        Ok(StepReport::empty().with("spawn", micros(time)))
    }

    async fn ensure_running(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        let running =
            |model: &Model| model.monitors.get(&config.id).is_some_and(|monitor| monitor.phase == VmmPhase::Running);
        {
            // Looked at before anything is started: a call that cannot succeed shall leave nothing behind.
            let mut model = self.0.lock();
            if !has_epoch(&model, config)? || !running(&model) {
                model.resolve(config)?;
            }
        }
        self.ensure_process(cx, config).await?;
        if running(&self.0.lock()) {
            return Ok(StepReport::empty());
        }
        let time = self.timings().start;
        takes(cx, time).await?;
        let mut model = self.0.lock();
        if !has_epoch(&model, config)? || !running(&model) {
            start(&mut model, &self.0, config)?;
        }
        Ok(StepReport::empty().with("start", micros(time)))
    }

    async fn ensure_paused(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        takes(cx, self.timings().observe).await?;
        let mut model = self.0.lock();
        let monitor = model.monitors.get_mut(&id).filter(|monitor| monitor.phase != VmmPhase::Prepared);
        let monitor = monitor.ok_or_else(|| conflict(format!("no guest of {id} runs")))?;
        monitor.phase = VmmPhase::Paused;
        Ok(StepReport::empty())
    }

    async fn ensure_captured(&self, _: &CallCx, _: VmId, _: &Path) -> Result<StepReport> {
        Err(Error::new(ErrorKind::Unsupported, "a simulated guest cannot be written down"))
    }

    async fn ensure_disks(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        takes(cx, self.timings().observe).await?;
        let mut model = self.0.lock();
        let sizes = sizes(&model, &config.disks)?;
        let monitor = model.monitors.get_mut(&config.id).filter(|monitor| {
            monitor.config.epoch == config.epoch && matches!(monitor.phase, VmmPhase::Running | VmmPhase::Paused)
        });
        let monitor = monitor.ok_or_else(|| conflict(format!("no guest of {} runs", config.id)))?;
        monitor.shown = sizes;
        Ok(StepReport::empty())
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId, how: &StopHow) -> Result<StepReport> {
        let begun = tokio::time::Instant::now();
        let asked = {
            let mut model = self.0.lock();
            let behaviour = model.behaviour(id).clone();
            model.monitors.get_mut(&id).map(|monitor| {
                let graceful = matches!(how, StopHow::Graceful { .. }) && monitor.phase == VmmPhase::Running;
                if graceful && !behaviour.ignores_shutdown && !behaviour.mute {
                    self.0.power_off(monitor, behaviour.shutdown);
                }
                (monitor.pid, graceful)
            })
        };
        if let (Some((pid, true)), StopHow::Graceful { grace_ms }) = (asked, how) {
            self.ended_within(id, pid, Duration::from_millis(*grace_ms).min(cx.left())).await;
        }
        takes(cx, self.timings().kill).await?;
        let mut model = self.0.lock();
        // Another monitor may have been started for the id while this call waited: that one is not ours to end.
        if let (Some((pid, _)), Some(monitor)) = (asked, model.monitors.get(&id))
            && monitor.pid != pid
        {
            return Err(conflict(format!("another monitor of {id} was started meanwhile")));
        }
        if asked.is_none() && model.monitors.contains_key(&id) {
            return Err(conflict(format!("a monitor of {id} was started meanwhile")));
        }
        model.end_monitor(id);
        model.residues.remove(&id);
        Ok(StepReport::empty().with("end", micros(begun.elapsed())))
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<VmmStatus>> {
        takes(cx, self.timings().observe).await?;
        let model = self.0.lock();
        let live = model.monitors.get(&id).map(|monitor| VmmStatus {
            epoch: monitor.config.epoch,
            phase: monitor.phase,
            since: monitor.since,
            size: Some(VmSize { vcpus: monitor.config.vcpus, memory: monitor.config.memory }),
            fences: Fences::default(),
        });
        let dead = model.residues.get(&id).map(|left| VmmStatus {
            epoch: left.epoch,
            phase: VmmPhase::Exited,
            since: left.since,
            size: None,
            fences: Fences::default(),
        });
        Ok(live.or(dead))
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        takes(cx, self.timings().observe).await?;
        let model = self.0.lock();
        let mut ids: Vec<_> = model.monitors.keys().chain(model.residues.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn wait_exit(&self, cx: &CallCx, id: VmId) -> Result<()> {
        let alive = match self.0.lock().monitors.get(&id) {
            Some(monitor) => monitor.alive.subscribe(),
            None => return Ok(()),
        };
        cx.bound(async {
            gone(alive).await;
            Ok(())
        })
        .await
    }

    async fn console_log(&self, cx: &CallCx, id: VmId, max: usize) -> Result<Vec<u8>> {
        takes(cx, self.timings().observe).await?;
        let model = self.0.lock();
        let Some(monitor) = model.monitors.get(&id) else { return Ok(Vec::new()) };
        Ok(monitor.serial.tail(max).to_vec())
    }

    async fn console(&self, cx: &CallCx, id: VmId, tail: usize) -> Result<ConsoleBox> {
        takes(cx, self.timings().observe).await?;
        let mut model = self.0.lock();
        let monitor = model.monitors.get_mut(&id);
        let monitor = monitor.ok_or_else(|| Error::not_found(format!("{id} has no monitor on this host")))?;
        Ok(self.0.attach(monitor, tail))
    }
}
