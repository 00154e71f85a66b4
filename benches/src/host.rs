//! Hosts that a service is measured on, and services on them.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::guest::vsock::VsockChannel;
use minions_core::http::client::{Endpoint, HttpControlPlane};
use minions_core::http::server::{ApiServer, Listener, Settings};
use minions_core::hypervisor::cloud_hypervisor::{CloudHypervisor, CloudHypervisorConfig};
use minions_core::hypervisor::qemu::{Accel, QemuConfig, QemuHypervisor, Vsock};
use minions_core::memory::{InMemoryHost, Limits, Settings as MemorySettings};
use minions_core::network::bridge::{BridgeConfig, BridgeNetwork};
use minions_core::network::user::{UserNetwork, UserNetworkConfig};
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalAccounts, LocalControlPlane, Quota, ServiceConfig};
use minions_core::storage::DynStorage;
use minions_core::storage::file::FileStorage;
use minions_core::store::LeasePool;
use minions_core::store::sqlite::{SqliteFleet, SqliteJournal};
use minions_core::types::{
    AddressPool, BootFiles, ByteSize, FileDigest, HostId, ImageBundle, ImageDefaults, ImageId, ImageManifest,
};

use crate::Result;

/// Enough leases for every size that is measured.
pub const WIDE: LeasePool = LeasePool {
    addresses: Cow::Borrowed(&[AddressPool {
        first: Ipv4Addr::new(10, 0, 0, 2),
        last: Ipv4Addr::new(10, 255, 255, 254),
    }]),
    uid_first: 200_000,
    uid_count: 300_000,
    rest: LeasePool::REST,
};

/// What the network of the stub's host lends.
pub const USER: LeasePool = LeasePool {
    addresses: Cow::Borrowed(&[AddressPool {
        first: Ipv4Addr::new(10, 213, 0, 16),
        last: Ipv4Addr::new(10, 213, 255, 254),
    }]),
    uid_first: 200_000,
    uid_count: 65_536,
    rest: LeasePool::REST,
};

/// What one bridge lends by itself.
pub const BRIDGE: LeasePool = LeasePool {
    addresses: Cow::Borrowed(&[AddressPool { first: Ipv4Addr::new(10, 0, 0, 16), last: Ipv4Addr::new(10, 0, 3, 254) }]),
    uid_first: 200_000,
    uid_count: 65_536,
    // A thousand addresses, and more VMs than that within a minute.
    rest: Duration::ZERO,
};

/// The images of a host with real files: one whose guest is ready at once, and one whose guest takes 100 ms.
pub const IMAGES: [&str; 2] = ["tiny", "slow"];

/// An XFS in the network namespace that `scripts/bench` made for the rows that change a host.
pub fn room() -> Option<PathBuf> {
    std::env::var_os("MINIONS_BENCH_ROOM").map(PathBuf::from)
}

/// Which host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Simulated, in the process of the daemon.
    Memory,
    /// The real adapters, with `stub-vmm` in the place of QEMU and its helper.
    Stub,
    /// The adapters of a real host, with `stub-vmm` in the place of Cloud Hypervisor alone.
    Host,
}

impl Kind {
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "memory" => Ok(Self::Memory),
            "stub" => Ok(Self::Stub),
            "host" => Ok(Self::Host),
            _ => Err(format!("there is no host {word}").into()),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Stub => "stub",
            Self::Host => "host",
        }
    }

    pub fn pool(self) -> LeasePool {
        match self {
            Self::Memory => WIDE,
            Self::Stub => USER,
            Self::Host => BRIDGE,
        }
    }
}

/// `stub-vmm`, beside this program.
pub fn stub() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("stub-vmm");
    beside.is_file().then_some(beside)
}

pub fn cx(op: &'static str) -> CallCx {
    CallCx::new(op, Duration::from_secs(600))
}

/// A simulated host with room for every size.
pub fn in_memory(env: &Env) -> InMemoryHost {
    let limits = Limits {
        max_vms: 1 << 20,
        pools: WIDE.addresses.to_vec(),
        storage: ByteSize::gib(1 << 30),
        ..Limits::default()
    };
    InMemoryHost::with(MemorySettings { limits, ..MemorySettings::default() }, env.clock.clone())
}

/// Three tiny files for the stub to boot, and the id of what they hold.
pub fn bundle(folder: &Path) -> Result<ImageBundle> {
    named_bundle(folder, IMAGES[0], "")
}

fn named_bundle(folder: &Path, name: &str, cmdline: &str) -> Result<ImageBundle> {
    let path = |name: &str| folder.join(name);
    let root = vec![7; 64 << 10];
    std::fs::write(path("image-root"), &root)?;
    std::fs::write(path("image-kernel"), b"kernel")?;
    std::fs::write(path("image-initrd"), b"initrd")?;
    let manifest = ImageManifest {
        name: name.to_owned(),
        root: FileDigest::of(&root),
        kernel: FileDigest::of(b"kernel"),
        initrd: FileDigest::of(b"initrd"),
        defaults: ImageDefaults { cmdline: cmdline.to_owned(), ..ImageDefaults::default() },
    };
    let boot = BootFiles { kernel: path("image-kernel"), initrd: path("image-initrd") };
    Ok(ImageBundle {
        id: manifest.id(),
        name: manifest.name,
        root: path("image-root"),
        boot,
        defaults: manifest.defaults,
    })
}

/// A host's ports without its journal, and the image that is on it.
pub struct Parts {
    pub hypervisor: minions_core::hypervisor::DynHypervisor,
    pub storage: DynStorage,
    pub network: minions_core::network::DynNetwork,
    pub guest: minions_core::guest::DynGuestChannel,
    pub image: ImageId,
}

pub async fn parts(kind: Kind, dir: &Path, env: &Env) -> Result<Parts> {
    match kind {
        Kind::Memory => {
            let host = in_memory(env);
            Ok(Parts {
                hypervisor: Arc::new(host.hypervisor()),
                storage: Arc::new(host.storage()),
                network: Arc::new(host.network()),
                guest: Arc::new(host.guest()),
                image: InMemoryHost::demo_image().id,
            })
        }
        Kind::Stub => {
            let stub = stub().ok_or("no stub-vmm beside this program; scripts/bench builds it")?;
            let storage: DynStorage = Arc::new(FileStorage::open(dir, env.clone()).await?);
            let bundle = bundle(dir)?;
            storage.ensure_image(&cx("image"), &bundle).await?;
            let config = QemuConfig {
                run_dir: dir.join("r"),
                qemu: stub.clone(),
                vsock: Vsock::Helper(stub),
                accel: Accel::Emulation,
                max_vcpus: 4,
                max_memory: ByteSize::gib(4),
            };
            Ok(Parts {
                hypervisor: Arc::new(QemuHypervisor::open(config, env.clone()).await?),
                storage,
                network: Arc::new(UserNetwork::open(&dir.join("n"), UserNetworkConfig::default())?),
                guest: Arc::new(VsockChannel::open(&dir.join("r"))?),
                image: bundle.id,
            })
        }
        Kind::Host => {
            let stub = stub().ok_or("no stub-vmm beside this program; scripts/bench builds it")?;
            let storage: DynStorage = Arc::new(FileStorage::open(dir, env.clone()).await?);
            for (name, cmdline) in [(IMAGES[1], "stub.ready_ms=100"), (IMAGES[0], "")] {
                storage.ensure_image(&cx("image"), &named_bundle(dir, name, cmdline)?).await?;
            }
            let program = dir.join("cloud-hypervisor");
            if !program.exists() {
                std::os::unix::fs::symlink(&stub, &program)?;
            }
            let config = CloudHypervisorConfig {
                run_dir: dir.join("r"),
                program,
                jail: Some(stub),
                max_vcpus: 4,
                max_memory: ByteSize::gib(4),
            };
            let nft = minions_core::host::lookup::find("nft").ok_or("no nft on this machine")?;
            Ok(Parts {
                hypervisor: Arc::new(CloudHypervisor::open(config, env.clone()).await?),
                storage,
                network: Arc::new(BridgeNetwork::open(BridgeConfig::new(nft)?).await?),
                guest: Arc::new(VsockChannel::open(&dir.join("r"))?),
                image: named_bundle(dir, IMAGES[0], "")?.id,
            })
        }
    }
}

/// A service, with its API on a UNIX socket.
pub struct Service {
    pub node: Arc<LocalNode>,
    pub plane: Arc<LocalControlPlane>,
    pub accounts: Arc<LocalAccounts>,
    server: tokio::task::JoinHandle<()>,
}

impl Service {
    /// Over the stores in a folder, which are made where there are none.
    pub async fn start(kind: Kind, dir: &Path, parts: Parts, env: &Env) -> Result<Self> {
        let journal = SqliteJournal::open(dir.join("journal.db"), kind.pool(), env.clock.clone()).await?;
        let fleet = Arc::new(SqliteFleet::open(dir.join("fleet.db")).await?);
        let ports = Ports {
            hypervisor: parts.hypervisor,
            storage: parts.storage,
            network: parts.network,
            guest: parts.guest,
            journal: Arc::new(journal),
        };
        let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), EngineConfig::default()).await?;
        let quota = Quota { vms: 1 << 40, disk: ByteSize::bytes(1 << 62), memory: ByteSize::bytes(1 << 62) };
        let config = ServiceConfig { quota, ..ServiceConfig::default() };
        let accounts = LocalAccounts::new(fleet.clone(), fleet.clone(), env.clone(), config.store_limit);
        let plane = LocalControlPlane::start(fleet, node.clone(), env.clone(), config);
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir)?);
        let server = ApiServer::new(plane.clone(), Settings { admin_uids: vec![uid], ..Settings::default() });
        let listener = Listener::unix(&dir.join("api.sock"))?;
        server.set_ready(true);
        let server = tokio::spawn(async move { server.serve(vec![listener], std::future::pending()).await });
        Ok(Self { node, plane, accounts: Arc::new(accounts), server })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A client of the service in a folder.
pub fn client(dir: &Path) -> HttpControlPlane {
    HttpControlPlane::new(Endpoint::Unix(dir.join("api.sock")), None)
}

/// Waits until a service has written down all that its host had to say after the start.
pub async fn quiet(plane: &HttpControlPlane) -> Result<()> {
    let mut place = plane.last_event(&anyone()).await?;
    loop {
        let page = plane.events(&anyone(), place, 200, Duration::from_secs(1)).await?;
        if page.events.is_empty() {
            return Ok(());
        }
        place = page.next;
    }
}

/// Over HTTP, the server decides who calls.
pub fn anyone() -> Caller {
    Caller::admin("bench")
}
