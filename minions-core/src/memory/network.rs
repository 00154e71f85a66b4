//! The network view of a simulated host.

use std::net::Ipv4Addr;

use async_trait::async_trait;

use super::model::{Model, Port};
use super::{InMemoryHost, conflict, takes};
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::network::{Network, NetworkCapabilities, PortConfig, PortStatus};
use crate::types::{GuestNet, NicAttachment, NicBackend, StepReport, VmId};

/// The network of an [`InMemoryHost`].
#[derive(Clone, Debug)]
pub struct InMemoryNetwork(InMemoryHost);

impl InMemoryNetwork {
    pub(super) fn new(host: InMemoryHost) -> Self {
        Self(host)
    }

    fn timings(&self) -> super::Timings {
        self.0.lock().settings.timings.clone()
    }
}

/// How a monitor opens a port, and what its guest is told.
fn nic(config: &PortConfig) -> NicAttachment {
    let [a, b, _, _] = config.ip.octets();
    let gateway = Ipv4Addr::new(a, b, 0, 1);
    let net = GuestNet { ip: config.ip, prefix: 16, gateway, dns: vec![gateway], mac: config.mac };
    NicAttachment { backend: NicBackend::Simulated, mac: config.mac, net }
}

/// The port is there, at least as something down and without rules. `true` if it is whole already.
fn place(model: &mut Model, config: &PortConfig) -> Result<bool> {
    let limits = &model.settings.limits;
    if !limits.pools.iter().any(|pool| pool.contains(config.ip)) {
        return Err(Error::invalid("ip", format!("{} is not in the pool of this network", config.ip)));
    }
    if let Some(port) = model.ports.get_mut(&config.id) {
        port.config.policy = config.policy.clone();
        if port.config != *config {
            let message = format!("{} has a port with other addresses: {}", config.id, port.config.ip);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        return Ok(port.up);
    }
    let clash = |other: &&PortConfig| other.ip == config.ip || other.mac == config.mac;
    if let Some(other) = model.ports.values().map(|port| &port.config).find(clash) {
        let message = format!("{} and {} would share an address", config.id, other.id);
        model.offences.push(message.clone());
        return Err(conflict(message));
    }
    model.ports.insert(config.id, Port { config: config.clone(), nic: nic(config), pinned: false, up: false });
    Ok(false)
}

#[async_trait]
impl Network for InMemoryNetwork {
    fn capabilities(&self) -> NetworkCapabilities {
        let limits = &self.0.lock().settings.limits;
        NetworkCapabilities {
            name: "memory".to_owned(),
            isolated: true,
            simulated: true,
            rate_limits: true,
            pools: limits.pools.clone(),
        }
    }

    async fn ensure_port(&self, cx: &CallCx, config: &PortConfig) -> Result<StepReport> {
        if place(&mut self.0.lock(), config)? {
            return Ok(StepReport::empty());
        }
        takes(cx, self.timings().port).await?;
        let mut model = self.0.lock();
        place(&mut model, config)?;
        if let Some(port) = model.ports.get_mut(&config.id) {
            port.pinned = true;
            port.up = true;
        }
        Ok(StepReport::empty())
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        takes(cx, self.timings().port).await?;
        let mut model = self.0.lock();
        if model.monitors.get(&id).is_some_and(|monitor| monitor.has_devices && monitor.config.nic.is_some()) {
            return Err(conflict(format!("the port is open by the monitor of {id}")));
        }
        model.ports.remove(&id);
        Ok(StepReport::empty())
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<PortStatus>> {
        takes(cx, self.timings().observe).await?;
        let model = self.0.lock();
        Ok(model.ports.get(&id).map(|port| PortStatus { nic: port.up.then(|| port.nic.clone()) }))
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        takes(cx, self.timings().observe).await?;
        Ok(self.0.lock().ports.keys().copied().collect())
    }
}
