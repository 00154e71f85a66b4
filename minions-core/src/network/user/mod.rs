//! The monitor's own NAT: every VM is alone on a network of its own behind its monitor.
//!
//! Needs no privilege and makes nothing on the host: a port is a record, and the monitor does the rest. It does not
//! isolate: QEMU's user network hands what a guest sends to the gateway's address to the host's loopback, and cannot
//! be told not to. So whatever must not be reached from guests must not listen on TCP without asking who calls.

mod error;
mod record;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Network, NetworkCapabilities, PortConfig, PortStatus};
use crate::env::CallCx;
use crate::error::Result;
use crate::host::{blocking, files};
use crate::types::{AddressPool, GuestNet, NicAttachment, NicBackend, StepReport, VmId, names};
use error::UserError;
use record::PortRecord;

/// Which addresses guests get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserNetworkConfig {
    /// The subnet's first address; its lowest bits below the prefix are zero.
    pub subnet: Ipv4Addr,
    /// The length of the subnet's prefix: 8 to 28.
    pub prefix: u8,
}

impl Default for UserNetworkConfig {
    fn default() -> Self {
        Self { subnet: Ipv4Addr::new(10, 213, 0, 0), prefix: 16 }
    }
}

impl UserNetworkConfig {
    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet).wrapping_add(offset))
    }

    fn last(&self) -> Ipv4Addr {
        let size = 1u32.checked_shl(32 - u32::from(self.prefix)).unwrap_or(u32::MAX);
        self.at(size - 2)
    }

    fn check(&self) -> Result<(), UserError> {
        let size = 32u32.checked_sub(u32::from(self.prefix)).filter(|_| (8..=28).contains(&self.prefix));
        match size {
            Some(bits) if u32::from(self.subnet).trailing_zeros() >= bits => Ok(()),
            _ => Err(UserError::Subnet { subnet: self.subnet, prefix: self.prefix }),
        }
    }

    fn guest(&self, record: &PortRecord) -> GuestNet {
        let (gateway, dns) = (self.at(2), vec![self.at(3)]);
        GuestNet { ip: record.ip, prefix: self.prefix, gateway, dns, mac: record.mac }
    }
}

/// Ports as small files, one each, so that what was asked of a port survives the daemon.
#[derive(Clone, Debug)]
pub struct UserNetwork(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    config: UserNetworkConfig,
    /// Goes with the file work, not with its caller: whoever looks next waits until a change that was given up is
    /// done, and sees all of it.
    known: Arc<Mutex<HashMap<VmId, PortRecord>>>,
}

impl UserNetwork {
    /// With its records in a folder, which is made.
    pub fn open(dir: &Path, config: UserNetworkConfig) -> Result<Self> {
        config.check()?;
        files::make_dir(dir).map_err(|source| UserError::Io { what: "make the folder of ports", source })?;
        let mut known = HashMap::new();
        for name in files::names(dir).map_err(|source| UserError::Io { what: "list the ports", source })? {
            if name.starts_with('.') {
                // What a crash left of a record that was never there.
                files::absent(&dir.join(&name)).map_err(|source| UserError::Io { what: "clear a port", source })?;
            }
            let Some(id) = names::vm_of_dir(&name) else { continue };
            known.insert(id, PortRecord::read(&dir.join(name))?);
        }
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), config, known: Arc::new(Mutex::new(known)) })))
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut HashMap<VmId, PortRecord>) -> Result<T, UserError> + Send + 'static,
    ) -> Result<T> {
        let mut known = self.0.known.clone().lock_owned().await;
        let inner = self.0.clone();
        blocking(move || Ok(work(&inner, &mut known)?)).await
    }
}

#[async_trait]
impl Network for UserNetwork {
    fn capabilities(&self) -> NetworkCapabilities {
        NetworkCapabilities {
            name: "user".to_owned(),
            isolated: false,
            simulated: false,
            // Behind the gateway and the resolver, with some room.
            rate_limits: false,
            pools: vec![AddressPool {
                first: self.0.config.at(16.min(u32::from(self.0.config.last()) - u32::from(self.0.config.subnet))),
                last: self.0.config.last(),
            }],
        }
    }

    async fn ensure_port(&self, cx: &CallCx, config: &PortConfig) -> Result<StepReport> {
        let (id, record) = (config.id, PortRecord { ip: config.ip, mac: config.mac });
        let caps = self.capabilities();
        if !caps.pools.iter().any(|pool| pool.contains(record.ip)) {
            return Err(UserError::OutsidePool(record.ip).into());
        }
        cx.bound(self.change(move |inner, known| {
            match known.get(&id) {
                Some(have) if *have == record => return Ok(()),
                Some(_) => return Err(UserError::Differs(id)),
                None => {}
            }
            record.write(&inner.dir.join(names::vm_dir(id)))?;
            known.insert(id, record);
            Ok(())
        }))
        .await?;
        Ok(StepReport::empty())
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        cx.bound(self.change(move |inner, known| {
            let gone = files::absent(&inner.dir.join(names::vm_dir(id))).and_then(|()| files::sync_dir(&inner.dir));
            gone.map_err(|source| UserError::Io { what: "remove a port", source })?;
            known.remove(&id);
            Ok(())
        }))
        .await?;
        Ok(StepReport::empty())
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<PortStatus>> {
        let known = cx.bound(async { Ok(self.0.known.lock().await) }).await?;
        Ok(known.get(&id).map(|record| PortStatus {
            nic: Some(NicAttachment { backend: NicBackend::User, mac: record.mac, net: self.0.config.guest(record) }),
        }))
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        let known = cx.bound(async { Ok(self.0.known.lock().await) }).await?;
        Ok(known.keys().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::{MacAddr, PortPolicy};

    fn config(bits: u128, low: u8) -> PortConfig {
        PortConfig {
            id: VmId::from_bits(bits),
            ip: Ipv4Addr::new(10, 213, 0, low),
            mac: MacAddr::local(u64::from(low)),
            uid: 0,
            policy: PortPolicy::default(),
        }
    }

    #[tokio::test]
    async fn a_port_outlives_the_daemon_and_keeps_its_addresses() {
        let dir = std::env::temp_dir().join(format!("minions-user-{}", std::process::id()));
        let cx = CallCx::new("test", Duration::from_secs(30));
        let port = config(7, 20);
        let network = UserNetwork::open(&dir, UserNetworkConfig::default()).unwrap();
        network.ensure_port(&cx, &port).await.unwrap();
        network.ensure_port(&cx, &port).await.unwrap();
        drop(network);
        let network = UserNetwork::open(&dir, UserNetworkConfig::default()).unwrap();
        let nic = network.observe(&cx, port.id).await.unwrap().unwrap().nic.unwrap();
        assert_eq!((nic.net.ip, nic.mac), (port.ip, port.mac));
        let other = network.ensure_port(&cx, &config(7, 21)).await.unwrap_err();
        assert_eq!(other.kind(), crate::ErrorKind::AlreadyExists);
        for _ in 0..2 {
            network.ensure_absent(&cx, port.id).await.unwrap();
        }
        assert!(network.list(&cx).await.unwrap().is_empty());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "a file is left");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn bad_28_a_subnet_with_stray_bits_or_without_room_is_refused() {
        for (subnet, prefix) in [([10, 0, 0, 1], 24), ([10, 0, 0, 0], 30), ([10, 0, 0, 0], 0), ([10, 1, 0, 0], 8)] {
            let config = UserNetworkConfig { subnet: Ipv4Addr::from(subnet), prefix };
            assert!(config.check().is_err(), "{config:?}");
        }
        assert!(UserNetworkConfig::default().check().is_ok());
    }
}
