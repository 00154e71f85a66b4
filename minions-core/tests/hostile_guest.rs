//! A guest that speaks garbage, or nothing, costs its own calls and nobody else's (BAD-20, CTL-2.2, INV-19).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use minions_core::ErrorKind;
use minions_core::api::guest::{ExecRequest, Frame, FrameWriter, GuestCall, Hello, Nonce, Proof};
use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::error::Result;
use minions_core::guest::client::{ExecItem, exec};
use minions_core::guest::{DoorState, GuestCapabilities, GuestChannel, GuestIoBox};
use minions_core::memory::{InMemoryFleet, InMemoryHost, InMemoryJournal};
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig, VmAction, VmRef};
use minions_core::storage::Storage;
use minions_core::store::LeasePool;
use minions_core::types::{AddressPool, ByteSize, Cid, HostId, StepReport, Vcpus, VmId, VmState};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

/// How long one call of the service may take.
const LIMIT: Duration = Duration::from_secs(2);

/// What a guest says to whoever calls it.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// These bytes, and then nothing; or the end.
    Says(&'static [u8], bool),
    /// These bytes again and again.
    Floods(&'static [u8]),
    /// One byte now and then.
    Dribbles,
    /// A hello of this version, with a proof of nothing.
    Version(u32),
    /// A hello nested so deeply.
    Deep(usize),
}

/// Each with what a call to it ends in.
const HABITS: &[(&str, Habit)] = &[
    ("mute", Habit::Says(b"", false)),
    ("closes at once", Habit::Says(b"", true)),
    ("a length of 0", Habit::Says(&[0, 0, 0, 0], false)),
    ("a length of 1, of no kind", Habit::Says(&[0, 0, 0, 1, 0xff], false)),
    ("more than the largest control frame", Habit::Says(&[0, 1, 0, 2, 0], false)),
    ("more than the largest frame", Habit::Says(&[0, 4, 0, 3, 1], false)),
    ("a length of 4 GiB", Habit::Says(&[0xff; 5], false)),
    ("half a frame", Habit::Says(&[0, 0, 0, 20, 0, b'{'], true)),
    ("no JSON", Habit::Says(&[0, 0, 0, 5, 0, b'g', b'a', b'r', b'b'], false)),
    ("text that is none", Habit::Says(&[0, 0, 0, 5, 0, 0xff, 0xfe, 0x80, 0], false)),
    ("another word", Habit::Says(b"\0\0\0\x0f\0{\"hello\":\"no\"}", false)),
    ("data that nobody asked for", Habit::Says(&[0, 0, 0, 3, 1, 0, b'x'], false)),
    ("zeros for ever", Habit::Floods(&[0; 1024])),
    ("ones for ever", Habit::Floods(&[1; 1024])),
    ("an end again and again", Habit::Floods(&[0, 0, 0, 2, 2, 0])),
    ("a byte now and then", Habit::Dribbles),
    ("a version before the first", Habit::Version(0)),
    ("a proof of nothing", Habit::Version(1)),
    ("a version of the future", Habit::Version(u32::MAX)),
    ("a hello that never ends", Habit::Deep(1_000)),
];

/// The road into guests, on which every VM but one is hostile as soon as it is told to be, each in its own way.
#[derive(Debug)]
struct Road {
    guests: Arc<dyn GuestChannel>,
    spared: Mutex<Option<VmId>>,
    ways: Mutex<HashMap<VmId, usize>>,
    /// Also to its own calls to the host.
    at_boot: bool,
}

impl Road {
    fn hostile(&self, vm: VmId) -> Option<Habit> {
        let spared = (*self.spared.lock().unwrap())?;
        (spared != vm).then(|| HABITS[self.way(vm)].1)
    }

    /// Which of the habits a VM has: the next that no other has.
    fn way(&self, vm: VmId) -> usize {
        let mut ways = self.ways.lock().unwrap();
        let next = ways.len();
        *ways.entry(vm).or_insert(next)
    }
}

async fn misbehave(mut io: DuplexStream, habit: Habit) -> std::io::Result<()> {
    match habit {
        Habit::Says(bytes, ends) => {
            io.write_all(bytes).await?;
            if ends {
                return Ok(());
            }
        }
        Habit::Floods(bytes) => loop {
            io.write_all(bytes).await?;
        },
        Habit::Dribbles => loop {
            io.write_all(&[0]).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        },
        Habit::Version(version) => {
            let (boot_nonce, nonce) = (Nonce::from_bytes([7; 32]), Nonce::from_bytes([8; 32]));
            let (agent_version, proof) = ("\u{1b}[2J".repeat(1_000), Proof::from_bytes([9; 32]));
            let hello = Hello::Agent { version, boot_nonce, nonce, agent_version, proof };
            let _ = FrameWriter::new(&mut io).message(&hello).await;
        }
        Habit::Deep(depth) => {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let _ = FrameWriter::new(&mut io).send(&Frame::Control(text.into())).await;
        }
    }
    // Holds the connection until the host lets go.
    while io.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

#[async_trait]
impl GuestChannel for Road {
    fn capabilities(&self) -> GuestCapabilities {
        self.guests.capabilities()
    }

    async fn ensure_open(&self, cx: &CallCx, id: VmId, cid: Cid) -> Result<StepReport> {
        self.guests.ensure_open(cx, id, cid).await
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        self.guests.ensure_absent(cx, id).await
    }

    async fn connect(&self, cx: &CallCx, id: VmId, port: u32) -> Result<GuestIoBox> {
        let Some(habit) = self.hostile(id) else { return self.guests.connect(cx, id, port).await };
        let (host, guest) = tokio::io::duplex(4096);
        tokio::spawn(misbehave(guest, habit));
        Ok(Box::new(host))
    }

    async fn accept(&self, cx: &CallCx, id: VmId) -> Result<GuestIoBox> {
        let io = self.guests.accept(cx, id).await?;
        let Some(habit) = self.hostile(id).filter(|_| self.at_boot) else { return Ok(io) };
        let (host, guest) = tokio::io::duplex(4096);
        tokio::spawn(misbehave(guest, habit));
        Ok(Box::new(host))
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<DoorState> {
        self.guests.observe(cx, id).await
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        self.guests.list(cx).await
    }
}

struct World {
    host: InMemoryHost,
    road: Arc<Road>,
    plane: Arc<LocalControlPlane>,
}

impl World {
    async fn new(at_boot: bool) -> Arc<Self> {
        let (host, env) = (InMemoryHost::new(), Env::system());
        let cx = CallCx::new("import", Duration::from_secs(10));
        host.storage().ensure_image(&cx, &InMemoryHost::demo_image()).await.unwrap();
        let guests = Arc::new(host.guest());
        let road = Arc::new(Road { guests, spared: Mutex::default(), ways: Mutex::default(), at_boot });
        let (first, last) = (Ipv4Addr::new(10, 200, 0, 2), Ipv4Addr::new(10, 200, 9, 254));
        let pool = LeasePool {
            addresses: vec![AddressPool { first, last }].into(),
            uid_first: 200_000,
            uid_count: 1_000,
            rest: LeasePool::REST,
        };
        let ports = Ports {
            hypervisor: Arc::new(host.hypervisor()),
            storage: Arc::new(host.storage()),
            network: Arc::new(host.network()),
            guest: road.clone(),
            journal: Arc::new(InMemoryJournal::new(pool, env.clock.clone())),
        };
        let engine = EngineConfig { boot_limit: LIMIT, probe_limit: LIMIT, ..EngineConfig::default() };
        let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), engine).await.unwrap();
        let config = ServiceConfig { node_limit: LIMIT, ..ServiceConfig::default() };
        let plane = LocalControlPlane::start(Arc::new(InMemoryFleet::new()), node, env, config);
        Arc::new(Self { host, road, plane })
    }

    async fn end(&self, operation: v1::Operation) -> v1::OperationOutcome {
        self.plane.operation(&me(), operation.id, Duration::from_secs(60)).await.unwrap().outcome
    }

    async fn create(&self, name: &str) -> v1::OperationOutcome {
        let memory = Some(ByteSize::mib(256));
        let data_disk = Some(ByteSize::default());
        let name = name.parse().unwrap();
        let request = v1::CreateVm { cpus: Some(Vcpus(1)), memory, data_disk, ..v1::CreateVm::named(name) };
        self.end(self.plane.create(&me(), &request, None).await.unwrap()).await
    }

    async fn destroy(&self, name: &str) -> v1::OperationOutcome {
        let action = VmAction::Destroy(v1::DestroyVm::default());
        self.end(self.plane.act(&me(), &named(name), &action, None).await.unwrap()).await
    }

    async fn open(&self, name: &str) -> Result<GuestIoBox> {
        let call = GuestCall::Exec(ExecRequest::new(["echo", "well"]));
        self.plane.open(&me(), &named(name), &call).await
    }

    /// A program in a guest that behaves.
    async fn works(&self, name: &str) {
        let (_input, mut output) = exec(self.open(name).await.unwrap());
        let mut text = Vec::new();
        while let Some(item) = output.next().await.unwrap() {
            if let ExecItem::Stdout(bytes) = item {
                text.extend_from_slice(&bytes);
            }
        }
        assert_eq!(text, b"well\n");
    }
}

fn me() -> Caller {
    Caller::tenant("ada")
}

fn named(name: &str) -> VmRef {
    name.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_20_a_guest_that_speaks_garbage_costs_its_own_calls_and_no_others() {
    let world = World::new(false).await;
    assert_eq!(world.create("good").await, v1::OperationOutcome::Succeeded);
    let good = world.plane.vm(&me(), &named("good")).await.unwrap().id;
    for number in 0..HABITS.len() {
        assert_eq!(world.create(&format!("evil-{number}")).await, v1::OperationOutcome::Succeeded);
    }
    *world.road.spared.lock().unwrap() = Some(good);
    let mut calls = JoinSet::new();
    for number in 0..HABITS.len() {
        let (world, name) = (world.clone(), format!("evil-{number}"));
        calls.spawn(async move {
            let vm = world.plane.vm(&me(), &named(&name)).await.unwrap();
            let began = tokio::time::Instant::now();
            let refused = world.open(&name).await.err();
            (name, HABITS[world.road.way(vm.id)].0, refused, began.elapsed())
        });
    }
    world.works("good").await;
    while let Some(call) = calls.join_next().await {
        let (name, what, refused, took) = call.unwrap();
        let error = refused.unwrap_or_else(|| panic!("{what}: it was believed"));
        let typed = matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Unsupported | ErrorKind::Denied
        );
        assert!(typed, "{what}: {}", error.chain());
        assert!(took < LIMIT * 10, "{what}: {took:?}");
        // The machine itself is as it was: nobody concludes from a mute agent that it is gone.
        assert_eq!(world.plane.vm(&me(), &named(&name)).await.unwrap().state, VmState::Running, "{what}");
    }
    assert_eq!(world.road.ways.lock().unwrap().len(), HABITS.len(), "each was tried");
    world.works("good").await;
    // A monitor can be ended whatever its guest does, and nothing is left.
    for number in 0..HABITS.len() {
        assert_eq!(world.destroy(&format!("evil-{number}")).await, v1::OperationOutcome::Succeeded);
    }
    world.works("good").await;
    assert_eq!(world.host.census().monitors.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_20_a_guest_that_speaks_garbage_at_its_boot_never_runs_and_leaves_nothing() {
    let world = World::new(true).await;
    assert_eq!(world.create("good").await, v1::OperationOutcome::Succeeded);
    let good = world.plane.vm(&me(), &named("good")).await.unwrap().id;
    let before = world.host.census();
    *world.road.spared.lock().unwrap() = Some(good);
    let mut creates = JoinSet::new();
    for number in 0..HABITS.len() {
        let world = world.clone();
        creates.spawn(async move { world.create(&format!("evil-{number}")).await });
    }
    world.works("good").await;
    while let Some(ended) = creates.join_next().await {
        let v1::OperationOutcome::Failed { error } = ended.unwrap() else { panic!("one was believed") };
        assert_eq!(error.reason.as_deref(), Some("boot_timeout"), "{error:?}");
    }
    assert_eq!(world.road.ways.lock().unwrap().len(), HABITS.len(), "each was tried");
    // Every try is unwound, if not before its failure is told.
    let gone = async {
        let query = v1::ListVms::default();
        while world.plane.vms(&me(), &query).await.unwrap().vms.len() > 1 {
            let after = world.plane.last_event(&me()).await.unwrap();
            world.plane.events(&me(), after, 1, Duration::from_millis(200)).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("what failed is taken apart");
    let after = world.host.census();
    assert_eq!((after.monitors.len(), after.volumes.len()), (before.monitors.len(), before.volumes.len()));
    world.works("good").await;
}
