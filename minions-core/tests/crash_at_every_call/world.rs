//! One world: a simulated host and two database files that outlive every daemon that is started on them.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::layers::{Deadline, FaultPlan, Faults, Layers};
use minions_core::memory::{Census, InMemoryHost, Settings, Timings};
use minions_core::node::{LocalNode, Settled};
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig};
use minions_core::storage::Storage;
use minions_core::store::sqlite::{SqliteFleet, SqliteJournal};
use minions_core::store::{Event, EventKind, EventQuery, FleetStore, Journal, JournalRow, LeasePool, VmQuery, VmRow};
use minions_core::types::{AddressPool, ByteSize, EventSeq, HostId, OperationVerb, Vcpus, VmId, VolumeId};

use crate::inline::{Inline, block};

pub const POOL: LeasePool = LeasePool {
    addresses: Cow::Borrowed(&[AddressPool {
        first: Ipv4Addr::new(10, 200, 0, 2),
        last: Ipv4Addr::new(10, 200, 0, 9),
    }]),
    uid_first: 200_000,
    uid_count: 8,
    rest: Duration::ZERO,
};

/// How long a guest takes until it can prove itself.
pub const BOOT: Duration = Duration::from_millis(500);

/// How long the service may take to learn what its host has settled: a call that hangs ends by its limit, and is said
/// again. Shorter than the time after which everything is said again for no reason, so that nothing is mended by that.
pub const TOLD: Duration = Duration::from_secs(45);

/// What nobody but the test's own deadlines bounds.
pub const LONG: Duration = Duration::from_secs(3_600);

pub struct World {
    pub host: InMemoryHost,
    dir: tempfile::TempDir,
    env: Env,
    pool: LeasePool,
    service: ServiceConfig,
}

/// A daemon: everything that dies with its process.
pub struct Daemon {
    pub plane: Arc<LocalControlPlane>,
    pub node: Arc<LocalNode>,
    journal: Arc<SqliteJournal>,
    fleet: Arc<SqliteFleet>,
}

pub fn me() -> Caller {
    Caller::tenant("ada")
}

pub fn new_vm(name: &str) -> v1::CreateVm {
    v1::CreateVm {
        cpus: Some(Vcpus(1)),
        memory: Some(ByteSize::mib(256)),
        disk: Some(ByteSize::gib(1)),
        data_disk: Some(ByteSize::gib(1)),
        ..v1::CreateVm::named(name.parse().unwrap())
    }
}

pub fn cx(op: &'static str) -> CallCx {
    CallCx::new(op, Duration::from_secs(30))
}

impl World {
    pub async fn new(seed: u64) -> Self {
        Self::with(Env::seeded(seed), POOL, ServiceConfig::default()).await
    }

    pub async fn with(env: Env, pool: LeasePool, service: ServiceConfig) -> Self {
        // Every call takes a moment, so that every call can be interrupted.
        let settings = Settings { timings: Timings::every(Duration::from_millis(1)), ..Settings::default() };
        let host = InMemoryHost::with(settings, env.clock.clone());
        host.set_boot_time(BOOT);
        host.storage().ensure_image(&cx("import"), &InMemoryHost::demo_image()).await.unwrap();
        let shm = std::path::Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
        Self { host, dir: dir.unwrap(), env, pool, service }
    }

    /// Starts a daemon whose every port call goes through the plan.
    pub async fn boot(&self, plan: &FaultPlan) -> Option<Daemon> {
        let journal =
            block(SqliteJournal::open(self.dir.path().join("journal.db"), self.pool.clone(), self.env.clock.clone()));
        let journal = Arc::new(journal.unwrap());
        let fleet = Arc::new(block(SqliteFleet::open(self.dir.path().join("fleet.db"))).unwrap());
        let layers = Layers::new().with(Deadline::after(LONG)).with(Faults::new(plan.clone()));
        let ports = Ports {
            hypervisor: layers.hypervisor(Arc::new(self.host.hypervisor())),
            storage: layers.storage(Arc::new(self.host.storage())),
            network: layers.network(Arc::new(self.host.network())),
            guest: layers.guest(Arc::new(self.host.guest())),
            journal: layers.journal(Arc::new(Inline(journal.clone()))),
        };
        let config = EngineConfig { resync: Duration::from_secs(120), ..EngineConfig::default() };
        let mut node = None;
        for _ in 0..3 {
            // A store that does not answer when the daemon starts ends it; whoever runs it starts it again.
            let started = tokio::select! {
                started = LocalNode::start(HostId::from_bits(1), ports.clone(), self.env.clone(), config) => started,
                () = plan.crashed() => break,
            };
            if let Ok(started) = started {
                node = Some(started);
                break;
            }
        }
        let Some(node) = node else {
            self.shut(journal, fleet).await;
            return None;
        };
        let store = layers.fleet_store(Arc::new(Inline(fleet.clone())));
        let plane = LocalControlPlane::start(store, node.clone(), self.env.clone(), self.service.clone());
        Some(Daemon { plane, node, journal, fleet })
    }

    /// The daemon's process ends, wherever it is.
    pub async fn crash(&self, daemon: Daemon) {
        let Daemon { plane, node, journal, fleet } = daemon;
        drop((plane, node));
        self.shut(journal, fleet).await;
    }

    async fn shut(&self, journal: Arc<SqliteJournal>, fleet: Arc<SqliteFleet>) {
        self.host.daemon_died();
        // Aborted tasks are dropped when the runtime comes to them; a yield lets it.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        block(journal.close()).unwrap();
        block(fleet.close()).unwrap();
    }

    pub fn now(&self) -> u64 {
        self.env.clock.wall().0
    }

    pub fn census(&self) -> Census {
        self.host.census()
    }
}

impl Daemon {
    pub fn rows(&self) -> Vec<JournalRow> {
        block(self.journal.rows(&cx("rows"), None, 1_000)).unwrap()
    }

    pub fn vms(&self) -> Vec<VmRow> {
        let query = VmQuery { limit: 1_000, deleted: true, ..VmQuery::default() };
        block(self.fleet.vms(&cx("vms"), &query)).unwrap()
    }

    pub fn vm(&self, id: VmId) -> Option<VmRow> {
        block(self.fleet.vm(&cx("vm"), id)).unwrap()
    }

    pub fn pending(&self, id: VmId) -> usize {
        block(self.fleet.pending_operations(&cx("pending"), id)).unwrap().len()
    }

    /// Waits until nothing is under way: every row settled, no work due.
    pub async fn converge(&self) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + LONG;
        let mut step = Duration::from_millis(20);
        let mut rested = None;
        loop {
            if tokio::time::timeout_at(deadline, self.node.engine().idle()).await.is_err() {
                return Err("LIV-1: the engine never comes to rest".to_owned());
            }
            let open = self.open();
            if open.is_empty() && self.node.engine().is_idle() {
                return Ok(());
            }
            let now = tokio::time::Instant::now();
            if now > deadline {
                return Err(format!("LIV-1: it waits for ever: {open}"));
            }
            // A host that has something to do again is not at rest.
            if !self.node.engine().is_idle() || rested.as_ref().is_some_and(|(_, known)| *known != open) {
                rested = None;
            }
            let (since, _) = rested.get_or_insert((now, open.clone()));
            if now - *since > TOLD {
                return Err(format!("LIV-4: the host has come to rest, and nobody has told the fleet: {open}"));
            }
            // Simulated time: the pusher and the follower go on.
            tokio::time::sleep(step).await;
            step = (step * 2).min(Duration::from_secs(1));
        }
    }

    /// What has not ended yet, in words; empty where everything has.
    fn open(&self) -> String {
        let unsettled: Vec<_> = self.vms().into_iter().filter(|row| row.settled < row.generation).collect();
        let waiting: usize = self.vms().iter().map(|row| self.pending(row.id)).sum();
        // A VM that ran may be given up later, when nobody waits for anything.
        let given_up = |vm: VmId| {
            let report = self.node.engine().board().get(vm);
            report.is_some_and(|report| matches!(report.settled, Some(Settled::GivenUp { .. })))
        };
        let untold =
            self.vms().into_iter().filter(|row| row.deleted.is_none() && given_up(row.id) && row.failure.is_none());
        let untold: Vec<_> = untold.collect();
        if unsettled.is_empty() && untold.is_empty() && waiting == 0 {
            return String::new();
        }
        format!("{waiting} operations, rows {unsettled:?}, not told {untold:?}")
    }

    /// How many requests with this verb were accepted after a place in the events.
    pub fn accepted(&self, after: EventSeq, verb: OperationVerb) -> usize {
        let events = block(self.fleet.events(&cx("events"), &EventQuery::all(after, 10_000))).unwrap();
        let is = |event: &Event| matches!(event.event.kind, EventKind::Accepted { verb: is, .. } if is == verb);
        events.iter().filter(|event| is(event)).count()
    }

    pub fn last_event(&self) -> EventSeq {
        block(self.fleet.last_event(&cx("last_event"))).unwrap()
    }
}

/// What tells a bystander that was not touched from one that was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imprint {
    pub pid: Option<u32>,
    pub root: Option<[u8; 32]>,
    pub data: Option<[u8; 32]>,
}

pub fn imprint(host: &InMemoryHost, vm: VmId) -> Imprint {
    Imprint {
        pid: host.census().monitor(vm).map(|monitor| monitor.pid),
        root: host.fingerprint(VolumeId::root(vm)),
        data: host.fingerprint(VolumeId::data(vm)),
    }
}

pub async fn settle(daemon: &Daemon, operation: v1::Operation) -> v1::Operation {
    daemon.plane.operation(&me(), operation.id, LONG).await.unwrap()
}
