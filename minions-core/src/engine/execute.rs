//! One step becomes exactly one call of one port.

use std::time::Duration;

use super::observe::Observed;
use super::step::Step;
use super::{EngineConfig, Ports};
use crate::api::guest::{FsTarget, GuestCall, PowerHow};
use crate::env::{CallCx, Env};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::{GuestChannelExt, client};
use crate::hypervisor::VmmConfig;
use crate::network::PortConfig;
use crate::storage::{VolumeConfig, VolumeSource};
use crate::store::JournalRow;
use crate::types::{DiskAttachment, DiskRole, Goal, StepReport, VolumeId};

/// Runs one step.
pub(super) async fn execute(
    ports: &Ports,
    env: &Env,
    config: &EngineConfig,
    row: &JournalRow,
    seen: &Observed,
    step: Step,
    attempt: u32,
) -> Result<StepReport> {
    let vm = row.entry.vm;
    let mut cx = CallCx::new(step.name(), limit(config, step));
    cx.attempt = attempt;
    match step {
        Step::MakeVolume(role) => ports.storage.ensure_volume(&cx, &volume_config(row, role)).await,
        Step::RemoveVolume(volume) => ports.storage.ensure_volume_absent(&cx, volume).await,
        Step::ShowDisks => ports.hypervisor.ensure_disks(&cx, &vmm_config(row, seen)?).await,
        Step::GrowGuest(role) => {
            let target = match role {
                DiskRole::Root => FsTarget::Root,
                DiskRole::Data => FsTarget::Data,
            };
            let call = GuestCall::GrowFilesystem { target };
            let io = ports.guest.open(&cx, vm, &row.lease.secret, &call).await?;
            client::grow(io, cx.deadline).await.map(|_| StepReport::empty())
        }
        Step::MakePort => ports.network.ensure_port(&cx, &port_config(row)).await,
        Step::RemovePort => ports.network.ensure_absent(&cx, vm).await,
        Step::OpenDoor => ports.guest.ensure_open(&cx, vm, row.lease.cid).await,
        Step::RemoveDoor => ports.guest.ensure_absent(&cx, vm).await,
        Step::NoteProvisioned => {
            ports.journal.provisioned(&cx, vm, row.entry.spec.root_turn).await.map(|()| StepReport::empty())
        }
        Step::PrepareVmm => ports.hypervisor.ensure_process(&cx, &vmm_config(row, seen)?).await,
        Step::StartVmm => ports.hypervisor.ensure_running(&cx, &vmm_config(row, seen)?).await,
        Step::AwaitReady => {
            let ready = ports.guest.await_ready(&cx, vm, &row.lease.secret, &*env.clock).await?;
            Ok(StepReport { marks: ready.marks })
        }
        Step::Probe => ports.guest.probe(&cx, vm, &row.lease.secret).await.map(|_| StepReport::empty()),
        Step::AskGuest => {
            let call = GuestCall::Shutdown { how: PowerHow::Orderly };
            let io = ports.guest.open(&cx, vm, &row.lease.secret, &call).await?;
            client::shutdown(io, cx.deadline).await.map(|()| StepReport::empty())
        }
        Step::AwaitExit { .. } => ports.hypervisor.wait_exit(&cx, vm).await.map(|()| StepReport::empty()),
        Step::EndVmm(how) => ports.hypervisor.ensure_absent(&cx, vm, &how).await,
    }
}

fn limit(config: &EngineConfig, step: Step) -> Duration {
    match step {
        Step::AwaitReady => config.boot_limit,
        Step::Probe | Step::AskGuest | Step::GrowGuest(_) => config.probe_limit,
        Step::AwaitExit { grace_ms } => Duration::from_millis(grace_ms),
        _ => config.step_limit,
    }
}

fn volume_config(row: &JournalRow, role: DiskRole) -> VolumeConfig {
    let spec = &row.entry.spec;
    let vm = row.entry.vm;
    match role {
        DiskRole::Root => {
            VolumeConfig { id: spec.root_volume(vm), size: spec.root, source: VolumeSource::Image(spec.image) }
        }
        DiskRole::Data => VolumeConfig {
            id: VolumeId::data(spec.data_from.unwrap_or(vm)),
            size: spec.data.unwrap_or_default(),
            source: VolumeSource::Empty,
        },
    }
}

fn port_config(row: &JournalRow) -> PortConfig {
    PortConfig {
        id: row.entry.vm,
        ip: row.lease.ip,
        mac: row.lease.mac,
        uid: row.lease.uid,
        policy: row.entry.spec.policy.clone(),
    }
}

/// From the row and from what was observed just now; whatever has vanished since, the call itself will find.
fn vmm_config(row: &JournalRow, seen: &Observed) -> Result<VmmConfig> {
    let vanished = |what: &'static str| Error::new(ErrorKind::Conflict, format!("the {what} vanished meanwhile"));
    let Goal::Running { epoch } = row.entry.goal else {
        return Err(Error::internal("a monitor was planned for a goal that is not running"));
    };
    let image = seen.image.as_ref().ok_or_else(|| vanished("image"))?;
    let root = seen.root.as_ref().ok_or_else(|| vanished("root disk"))?;
    let mut disks = vec![DiskAttachment { role: DiskRole::Root, path: root.path.clone() }];
    if row.entry.spec.data.is_some() {
        let data = seen.data.as_ref().ok_or_else(|| vanished("data disk"))?;
        disks.push(DiskAttachment { role: DiskRole::Data, path: data.path.clone() });
    }
    let nic = seen.port.as_ref().and_then(|port| port.nic.clone()).ok_or_else(|| vanished("network port"))?;
    Ok(VmmConfig {
        id: row.entry.vm,
        epoch,
        vcpus: row.entry.spec.vcpus,
        memory: row.entry.spec.memory,
        boot: image.boot.clone(),
        cmdline: image.defaults.cmdline.clone(),
        hostname: row.entry.hostname.to_string(),
        disks,
        nic: Some(nic),
        cid: row.lease.cid,
        secret: row.lease.secret.clone(),
        uid: row.lease.uid,
        restore: None,
    })
}
