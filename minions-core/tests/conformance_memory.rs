//! The in-memory host keeps the contracts of the four ports: bare, behind pointers, and behind every policy.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use minions_core::env::{CallCx, Env};
use minions_core::guest::{DynGuestChannel, GuestChannel};
use minions_core::hypervisor::{DynHypervisor, Hypervisor, VmmConfig};
use minions_core::layers::{Deadline, FaultPlan, Faults, Latency, Layers, Limit, Metrics, Record, Retry, Trace};
use minions_core::memory::{InMemoryHost, Timings};
use minions_core::network::{DynNetwork, Network, PortConfig};
use minions_core::storage::{DynStorage, Storage, StorageExt, VolumeConfig, VolumeSource, VolumeStatus};
use minions_core::testkit::cx;
use minions_core::testkit::guest::{Boot, GuestScene};
use minions_core::testkit::hypervisor::{HypervisorScene, Prepare};
use minions_core::testkit::storage::{Probe, StorageScene};
use minions_core::types::{
    AgentSecret, ByteSize, Cid, DiskAttachment, ImageBundle, MacAddr, PortPolicy, StopHow, Vcpus, VmId, VolumeId,
};

/// What stands around the ports of a host.
type Around = (
    fn(Arc<dyn Hypervisor>) -> DynHypervisor,
    fn(Arc<dyn Storage>) -> DynStorage,
    fn(Arc<dyn Network>) -> DynNetwork,
    fn(Arc<dyn GuestChannel>) -> DynGuestChannel,
);

/// A host on which every call waits once, so that it can be dropped in the middle.
fn host() -> InMemoryHost {
    let host = InMemoryHost::new();
    host.configure(|settings| settings.timings = Timings::every(Duration::from_millis(1)));
    host
}

#[derive(Debug)]
struct HostProbe(InMemoryHost);

#[async_trait]
impl Probe for HostProbe {
    async fn fingerprint(&self, id: VolumeId, _: &VolumeStatus, _: ByteSize) -> [u8; 32] {
        self.0.fingerprint(id).unwrap()
    }

    async fn scribble(&self, id: VolumeId, _: &VolumeStatus, bytes: &[u8]) {
        self.0.write_volume(id, bytes).unwrap();
    }

    async fn hold(&self, id: VolumeId, volume: &VolumeStatus) -> Option<Box<dyn Any + Send>> {
        let image = self.0.storage().images(&cx()).await.unwrap().remove(0);
        let disk = DiskAttachment { role: id.role, path: volume.path.clone() };
        let config = VmmConfig {
            id: id.vm,
            epoch: 1,
            vcpus: Vcpus(1),
            memory: ByteSize::mib(64),
            boot: image.boot,
            cmdline: String::new(),
            hostname: "held".to_owned(),
            disks: vec![disk],
            nic: None,
            cid: Cid::FIRST,
            secret: AgentSecret::from_bytes([1; 32]),
            uid: 1,
            restore: None,
        };
        self.0.hypervisor().ensure_running(&cx(), &config).await.unwrap();
        Some(Box::new(Held(self.0.clone(), id.vm)))
    }
}

struct Held(InMemoryHost, VmId);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.kill_vmm(self.1);
    }
}

fn storage_scene(around: Around) -> StorageScene {
    let host = host();
    let bundle = host.prepare_image("small", ByteSize::mib(1), &[("/etc/motd", "hello")]);
    let other = host.prepare_image("other", ByteSize::mib(1), &[("/etc/motd", "goodbye")]);
    let tampered = ImageBundle { root: other.root, ..bundle.clone() };
    StorageScene {
        storage: around.1(Arc::new(host.storage())),
        bundle,
        tampered: Some(tampered),
        probe: Box::new(HostProbe(host)),
    }
}

#[derive(Debug)]
struct HostMachines(InMemoryHost);

#[async_trait]
impl Prepare for HostMachines {
    async fn config(&self, id: VmId, epoch: u64) -> VmmConfig {
        let (storage, network) = (self.0.storage(), self.0.network());
        let image = storage.images(&cx()).await.unwrap().remove(0);
        let root = VolumeId::root(id);
        let volume = VolumeConfig { id: root, size: ByteSize::mib(64), source: VolumeSource::Image(image.id) };
        storage.ensure_volume(&cx(), &volume).await.unwrap();
        // The number of VMs so far makes addresses that nobody else has.
        let known = network.list(&cx()).await.unwrap();
        let number = known.iter().position(|other| *other == id).unwrap_or(known.len()) as u32;
        let first = u32::from(network.capabilities().pools[0].first);
        let port = PortConfig {
            id,
            ip: (first + number).into(),
            mac: MacAddr::local(number.into()),
            uid: number,
            policy: PortPolicy::default(),
        };
        network.ensure_port(&cx(), &port).await.unwrap();
        VmmConfig {
            id,
            epoch,
            vcpus: Vcpus(1),
            memory: ByteSize::mib(64),
            boot: image.boot,
            cmdline: "quiet".to_owned(),
            hostname: "case".to_owned(),
            disks: vec![DiskAttachment {
                role: root.role,
                path: storage.volume(&cx(), root).await.unwrap().unwrap().path,
            }],
            nic: network.observe(&cx(), id).await.unwrap().unwrap().nic,
            cid: Cid::new(3 + number).unwrap(),
            secret: AgentSecret::from_bytes([number as u8; 32]),
            uid: number,
            restore: None,
        }
    }

    async fn kill(&self, id: VmId) -> bool {
        self.0.kill_vmm(id)
    }

    fn greeting(&self) -> Option<&'static str> {
        Some("press Enter for a shell")
    }
}

fn hypervisor_scene(around: Around, early: bool) -> HypervisorScene {
    let host = host();
    host.configure(|settings| settings.limits.early_process = early);
    HypervisorScene { hypervisor: around.0(Arc::new(host.hypervisor())), prepare: Box::new(HostMachines(host)) }
}

#[async_trait]
impl Boot for HostMachines {
    async fn boot(&self, id: VmId, cid: Cid) -> AgentSecret {
        let mut config = self.config(id, 1).await;
        config.cid = cid;
        self.0.hypervisor().ensure_running(&cx(), &config).await.unwrap();
        config.secret
    }

    async fn end(&self, id: VmId) {
        self.0.hypervisor().ensure_absent(&cx(), id, &StopHow::Force).await.unwrap();
    }
}

fn guest_scene(around: Around) -> GuestScene {
    let host = host();
    GuestScene { guest: around.3(Arc::new(host.guest())), boot: Some(Box::new(HostMachines(host))) }
}

macro_rules! suites {
    ($name:ident, $around:expr) => {
        mod $name {
            use super::*;

            const AROUND: Around = $around;

            minions_core::hypervisor_suite!(hypervisor, async |_| hypervisor_scene(AROUND, true));
            minions_core::storage_suite!(storage, async |_| storage_scene(AROUND));
            minions_core::network_suite!(network, async |_| AROUND.2(Arc::new(host().network())));
            minions_core::guest_suite!(guest, async |_| guest_scene(AROUND));
        }
    };
    ($name:ident, layers $layers:expr) => {
        suites!(
            $name,
            (
                |port| $layers.hypervisor(port),
                |port| $layers.storage(port),
                |port| $layers.network(port),
                |port| $layers.guest(port)
            )
        );
    };
}

suites!(bare, (|port| port, |port| port, |port| port, |port| port));
suites!(behind_arc, (|port| Arc::new(port), |port| Arc::new(port), |port| Arc::new(port), |port| Arc::new(port)));
suites!(
    behind_box,
    (
        |port| Arc::new(Box::new(port) as Box<dyn Hypervisor>),
        |port| Arc::new(Box::new(port) as Box<dyn Storage>),
        |port| Arc::new(Box::new(port) as Box<dyn Network>),
        |port| Arc::new(Box::new(port) as Box<dyn GuestChannel>)
    )
);
suites!(no_policy, layers Layers::new());
suites!(retried, layers Layers::new().with(Retry::default()));
suites!(bounded, layers Layers::new().with(Deadline::after(Duration::from_secs(50))));
suites!(limited, layers Layers::new().with(Limit::to(1)));
suites!(traced, layers Layers::new().with(Trace));
suites!(measured, layers Layers::new().with(Metrics::default()));
suites!(delayed, layers Layers::new().with(Latency::of(Duration::from_millis(1))));
suites!(recorded, layers Layers::new().with(Record::default()));
suites!(faultless, layers Layers::new().with(Faults::new(FaultPlan::none())));
suites!(
    everything,
    layers Layers::new()
        .with(Retry::default())
        .with(Deadline::after(Duration::from_secs(50)))
        .with(Limit::to(64))
        .with(Trace)
        .with(Metrics::default())
        .with(Latency::of(Duration::from_micros(10)))
        .with(Record::default())
        .with(Faults::new(FaultPlan::none()))
);

mod without_early_process {
    use super::*;

    const AROUND: Around = (|port| port, |port| port, |port| port, |port| port);
    minions_core::hypervisor_suite!(hypervisor, async |_| hypervisor_scene(AROUND, false));
}

#[tokio::test(start_paused = true)]
async fn limits_refuse_what_the_host_has_no_room_for() {
    let host = InMemoryHost::new();
    let machines = HostMachines(host.clone());
    let ids = Env::seeded(3);
    let (one, two) = (machines.config(ids.vm_id(), 1).await, machines.config(ids.vm_id(), 1).await);
    host.configure(|settings| settings.limits.max_vms = 1);
    let cx = CallCx::new("test", Duration::from_secs(9));
    host.hypervisor().ensure_running(&cx, &one).await.unwrap();
    let error = host.hypervisor().ensure_running(&cx, &two).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (minions_core::ErrorKind::Exhausted, Some("no_capacity")));
    assert!(host.census().monitor(two.id).is_none());
}
