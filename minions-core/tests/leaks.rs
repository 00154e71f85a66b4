//! VMs come and go, and what they took of the service's own process comes back (RP-8).
#![cfg(all(feature = "sqlite", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::memory::InMemoryHost;
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig, VmAction, VmRef};
use minions_core::storage::Storage;
use minions_core::store::sqlite::{SqliteFleet, SqliteJournal};
use minions_core::store::{Journal, LeasePool};
use minions_core::types::{AddressPool, ByteSize, HostId, Vcpus};
use tokio::io::AsyncReadExt;

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    threads: usize,
    resident: usize,
}

fn held() -> Held {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
    Held { files: count("/proc/self/fd"), threads: count("/proc/self/task"), resident }
}

struct World {
    plane: Arc<LocalControlPlane>,
    journal: SqliteJournal,
    host: InMemoryHost,
    _dir: tempfile::TempDir,
}

fn me() -> Caller {
    Caller::tenant("ada")
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (host, env) = (InMemoryHost::new(), Env::system());
        let cx = CallCx::new("import", Duration::from_secs(10));
        host.storage().ensure_image(&cx, &InMemoryHost::demo_image()).await.unwrap();
        let pool = LeasePool {
            addresses: vec![AddressPool { first: Ipv4Addr::new(10, 200, 0, 2), last: Ipv4Addr::new(10, 200, 0, 254) }]
                .into(),
            uid_first: 200_000,
            uid_count: 100,
            rest: Duration::ZERO,
        };
        let journal = SqliteJournal::open(dir.path().join("journal.db"), pool, env.clock.clone()).await.unwrap();
        let ports = Ports {
            hypervisor: Arc::new(host.hypervisor()),
            storage: Arc::new(host.storage()),
            network: Arc::new(host.network()),
            guest: Arc::new(host.guest()),
            journal: Arc::new(journal.clone()),
        };
        let fleet = Arc::new(SqliteFleet::open(dir.path().join("fleet.db")).await.unwrap());
        let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), EngineConfig::default()).await.unwrap();
        let plane = LocalControlPlane::start(fleet, node, env, ServiceConfig::default());
        Self { plane, journal, host, _dir: dir }
    }

    /// Makes a VM, runs a program in it, and destroys it.
    async fn cycle(&self, name: &str) {
        let new = v1::CreateVm {
            cpus: Some(Vcpus(1)),
            memory: Some(ByteSize::mib(128)),

            data_disk: Some(ByteSize::mib(16)),
            ..v1::CreateVm::named(name.parse().unwrap())
        };
        let created = self.plane.create(&me(), &new, None).await.unwrap();
        self.ends(created.id).await;
        let vm = VmRef::Id(created.vm);
        let call = GuestCall::Exec(ExecRequest::new(["true"]));
        let mut io = self.plane.open(&me(), &vm, &call).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), io.read_u8()).await.expect("it answers").unwrap();
        drop(io);
        let gone = self.plane.act(&me(), &vm, &VmAction::Destroy(v1::DestroyVm::default()), None).await.unwrap();
        self.ends(gone.id).await;
    }

    async fn ends(&self, id: minions_core::types::OperationId) {
        let ended = self.plane.operation(&me(), id, Duration::from_secs(60)).await.unwrap();
        assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded, "{ended:?}");
    }

    async fn cycles(self: &Arc<Self>, count: usize, abreast: usize) {
        for turn in 0..count / abreast {
            let mut all = tokio::task::JoinSet::new();
            for place in 0..abreast {
                let world = self.clone();
                all.spawn(async move { world.cycle(&format!("vm-{turn}-{place}")).await });
            }
            all.join_all().await;
        }
        let cx = CallCx::new("rows", Duration::from_secs(10));
        assert!(self.journal.rows(&cx, None, 1).await.unwrap().is_empty(), "a row is left");
        let census = self.host.census();
        assert!(census.monitors.is_empty() && census.volumes.is_empty(), "{census:?}");
    }
}

/// `most` is how much more memory may be held in the end.
async fn come_and_go(warm: usize, count: usize, most: usize) {
    let world = Arc::new(World::start().await);
    world.cycles(warm, 10).await;
    let before = held();
    world.cycles(count, 10).await;
    // Threads that block for files end after ten seconds in which nobody needs them.
    let mut after = held();
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while after.threads > before.threads && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        after = held();
    }
    println!("leaks cycles={count} before={before:?} after={after:?}");
    assert_eq!(after.files, before.files, "open files");
    assert!(after.threads <= before.threads, "threads: {before:?}, then {after:?}");
    let grown = after.resident.saturating_sub(before.resident);
    assert!(grown <= most, "{grown} bytes more are held: {before:?}, then {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rp_8_300_vms_that_came_and_went_hold_no_file_and_no_thread() {
    come_and_go(100, 300, 32 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: ten thousand VMs"]
async fn rp_8_10_000_vms_that_came_and_went_hold_nothing() {
    come_and_go(1_000, 10_000, 16 << 20).await;
}
