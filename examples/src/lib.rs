//! What the examples share: a whole service in this process, on a host that is simulated.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use minions_core::Result;
use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::guest::client::{ExecItem, exec};
use minions_core::memory::{InMemoryFleet, InMemoryHost, InMemoryJournal};
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig, VmRef};
use minions_core::storage::Storage;
use minions_core::store::LeasePool;
use minions_core::types::{AddressPool, ByteSize, HostId};

/// Puts a service together: ports, a node that converges, stores, and the control plane on top.
pub async fn start(host: &InMemoryHost, config: ServiceConfig) -> Result<Arc<LocalControlPlane>> {
    let pool = LeasePool {
        addresses: vec![AddressPool { first: Ipv4Addr::new(10, 200, 0, 2), last: Ipv4Addr::new(10, 200, 0, 254) }]
            .into(),
        uid_first: 200_000,
        uid_count: 1_000,
        rest: LeasePool::REST,
    };
    let env = Env::system();
    let ports = Ports {
        hypervisor: Arc::new(host.hypervisor()),
        storage: Arc::new(host.storage()),
        network: Arc::new(host.network()),
        guest: Arc::new(host.guest()),
        journal: Arc::new(InMemoryJournal::new(pool, env.clock.clone())),
    };
    let cx = CallCx::new("import", Duration::from_secs(5));
    ports.storage.ensure_image(&cx, &InMemoryHost::demo_image()).await?;
    let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), EngineConfig::default()).await?;
    Ok(LocalControlPlane::start(Arc::new(InMemoryFleet::new()), node, env, config))
}

/// A small VM.
pub fn small(name: &str) -> Result<v1::CreateVm> {
    let memory = Some(ByteSize::mib(256));
    Ok(v1::CreateVm { memory, ..v1::CreateVm::named(name.parse()?) })
}

/// Waits until an operation has ended.
pub async fn done(plane: &dyn ControlPlane, caller: &Caller, operation: v1::Operation) -> Result<v1::Operation> {
    plane.operation(caller, operation.id, Duration::from_secs(20)).await
}

/// Runs a command in a guest, and returns what it printed.
pub async fn run(plane: &dyn ControlPlane, caller: &Caller, name: &str, argv: &[&str]) -> Result<String> {
    let vm: VmRef = name.parse()?;
    let call = GuestCall::Exec(ExecRequest::new(argv.iter().copied()));
    let (_stdin, mut output) = exec(plane.open(caller, &vm, &call).await?);
    let mut printed = Vec::new();
    while let Some(item) = output.next().await? {
        if let ExecItem::Stdout(bytes) = item {
            printed.extend_from_slice(&bytes);
        }
    }
    Ok(String::from_utf8_lossy(&printed).into_owned())
}
