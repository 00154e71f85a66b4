//! What a simulated guest says of itself.

use super::Machine;
use crate::api::guest::{
    CpuStatus, DiskStatus, Health, Interface, Listener, Load, MemoryStatus, NetworkStatus, Status,
};
use crate::error::Result;
use crate::memory::KERNEL_RELEASE;
use crate::memory::model::Monitor;
use crate::types::DiskRole;

fn uptime_ms(monitor: &Monitor) -> u64 {
    u64::try_from(monitor.booted.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn connections(monitor: &Monitor) -> u32 {
    u32::try_from(monitor.tasks.iter().filter(|task| !task.is_finished()).count()).unwrap_or(u32::MAX)
}

impl Machine {
    pub(super) fn health(&self) -> Result<Health> {
        self.monitor(|monitor| Health {
            uptime_ms: uptime_ms(monitor),
            agent_version: concat!(env!("CARGO_PKG_VERSION"), "-simulated").to_owned(),
            connections: connections(monitor),
        })
    }

    pub(super) fn network(&self) -> Result<NetworkStatus> {
        self.monitor(|monitor| match &monitor.config.nic {
            None => NetworkStatus::default(),
            Some(nic) => NetworkStatus {
                interfaces: vec![Interface {
                    name: "eth0".to_owned(),
                    up: true,
                    mac: nic.mac.to_string(),
                    addresses: vec![format!("{}/{}", nic.net.ip, nic.net.prefix)],
                    received: 0,
                    sent: 0,
                }],
                gateway: Some(nic.net.gateway),
                dns: nic.net.dns.iter().map(|ip| (*ip).into()).collect(),
            },
        })
    }

    pub(super) fn status(&self) -> Result<Status> {
        let disks = self.disks(|disks| {
            Ok([DiskRole::Root, DiskRole::Data].into_iter().filter_map(|role| disks.usage(role)).collect::<Vec<_>>())
        })?;
        let network = self.network()?;
        let os = "minions demo (simulated)".to_owned();
        self.monitor(|monitor| {
            let (vcpus, uptime_ms) = (monitor.config.vcpus.0, uptime_ms(monitor));
            let total = monitor.config.memory.get();
            Status {
                hostname: monitor.hostname.clone(),
                os,
                kernel: KERNEL_RELEASE.to_owned(),
                uptime_ms,
                cpu: CpuStatus {
                    count: vcpus,
                    busy_ms: uptime_ms / 100,
                    idle_ms: uptime_ms * u64::from(vcpus) - uptime_ms / 100,
                    steal_ms: 0,
                },
                memory: MemoryStatus { total, available: total - total / 8 },
                load: Load::default(),
                disks,
                network,
                listening: vec![Listener { port: 80, address: std::net::Ipv4Addr::LOCALHOST.into() }],
                processes: 2 + connections(monitor),
            }
        })
    }
}

/// A file system at a glance.
pub(super) fn disk_status(role: DiskRole, total: u64, used: u64) -> DiskStatus {
    let (mount, device) = match role {
        DiskRole::Root => ("/", "/dev/vda"),
        DiskRole::Data => ("/data", "/dev/vdb"),
    };
    DiskStatus {
        mount: mount.to_owned(),
        device: device.to_owned(),
        kind: "simulated".to_owned(),
        total,
        available: total.saturating_sub(used),
    }
}
