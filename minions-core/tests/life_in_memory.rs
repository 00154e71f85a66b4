//! The whole house on the in-memory host, with real SQLite files: from a request to a program in a guest, and back to
//! nothing.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use minions_core::ErrorKind;
use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::guest::client::{ExecItem, exec};
use minions_core::hypervisor::VmmPhase;
use minions_core::memory::InMemoryHost;
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig, VmAction, VmRef};
use minions_core::storage::Storage;
use minions_core::store::LeasePool;
use minions_core::store::sqlite::{SqliteFleet, SqliteJournal};
use minions_core::types::{AddressPool, ByteSize, EventSeq, HostId, OperationVerb, Vcpus, VmState, VolumeId};

const POOL: LeasePool = LeasePool {
    addresses: Cow::Borrowed(&[AddressPool {
        first: Ipv4Addr::new(10, 200, 0, 2),
        last: Ipv4Addr::new(10, 200, 255, 254),
    }]),
    uid_first: 200_000,
    uid_count: 10_000,
    rest: LeasePool::REST,
};

struct World {
    host: InMemoryHost,
    dir: tempfile::TempDir,
    env: Env,
}

impl World {
    async fn new() -> Self {
        let host = InMemoryHost::new();
        let cx = CallCx::new("import", Duration::from_secs(10));
        host.storage().ensure_image(&cx, &InMemoryHost::demo_image()).await.unwrap();
        Self { host, dir: tempfile::tempdir().unwrap(), env: Env::system() }
    }

    async fn start(&self) -> Arc<LocalControlPlane> {
        let journal = Arc::new(
            SqliteJournal::open(self.dir.path().join("journal.db"), POOL, self.env.clock.clone()).await.unwrap(),
        );
        let fleet = Arc::new(SqliteFleet::open(self.dir.path().join("fleet.db")).await.unwrap());
        let ports = Ports {
            hypervisor: Arc::new(self.host.hypervisor()),
            storage: Arc::new(self.host.storage()),
            network: Arc::new(self.host.network()),
            guest: Arc::new(self.host.guest()),
            journal,
        };
        let node =
            LocalNode::start(HostId::from_bits(1), ports, self.env.clone(), EngineConfig::default()).await.unwrap();
        LocalControlPlane::start(fleet, node, self.env.clone(), ServiceConfig::default())
    }
}

fn me() -> Caller {
    Caller::tenant("ada")
}

fn named(name: &str) -> VmRef {
    name.parse().unwrap()
}

fn new_vm(name: &str) -> v1::CreateVm {
    let memory = Some(ByteSize::mib(256));
    v1::CreateVm { cpus: Some(Vcpus(1)), memory, ..v1::CreateVm::named(name.parse().unwrap()) }
}

async fn done(plane: &LocalControlPlane, operation: v1::Operation) -> v1::Operation {
    let operation = plane.operation(&me(), operation.id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(operation.outcome, v1::OperationOutcome::Succeeded, "{operation:?}");
    operation
}

async fn act(plane: &LocalControlPlane, name: &str, action: VmAction) -> v1::Operation {
    let operation = plane.act(&me(), &named(name), &action, None).await.unwrap();
    done(plane, operation).await
}

async fn run(plane: &LocalControlPlane, name: &str, argv: &[&str]) -> String {
    let call = GuestCall::Exec(ExecRequest::new(argv.iter().copied()));
    let (_input, mut output) = exec(plane.open(&me(), &named(name), &call).await.unwrap());
    let mut text = Vec::new();
    while let Some(item) = output.next().await.unwrap() {
        if let ExecItem::Stdout(bytes) = item {
            text.extend_from_slice(&bytes);
        }
    }
    String::from_utf8(text).unwrap()
}

async fn state(plane: &LocalControlPlane, name: &str) -> VmState {
    plane.vm(&me(), &named(name)).await.unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_created_entered_stopped_started_and_destroyed_without_a_trace() {
    let world = World::new().await;
    let plane = world.start().await;

    let created = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let created = done(&plane, created).await;
    assert!(created.timings.iter().any(|mark| mark.name == "guest_ready"), "{created:?}");
    assert_eq!(state(&plane, "web").await, VmState::Running);
    assert!(run(&plane, "web", &["uname", "-a"]).await.contains("simulated"));

    run(&plane, "web", &["sh", "-c", "echo root > /kept; echo data > /data/kept"]).await;
    act(&plane, "web", VmAction::Stop(v1::StopVm::default())).await;
    assert_eq!(state(&plane, "web").await, VmState::Stopped);
    assert!(world.host.census().monitors.is_empty(), "INV-9: stopped means no process");
    let call = GuestCall::Exec(ExecRequest::new(["true"]));
    let refused = plane.open(&me(), &named("web"), &call).await.err().unwrap();
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Denied, Some("not_running")));

    act(&plane, "web", VmAction::Start(v1::StartVm {})).await;
    assert_eq!(run(&plane, "web", &["cat", "/kept", "/data/kept"]).await, "root\ndata\n");

    let before = world.host.census().monitors[0].pid;
    act(&plane, "web", VmAction::Restart(v1::RestartVm {})).await;
    assert_ne!(world.host.census().monitors[0].pid, before);

    act(&plane, "web", VmAction::Rename(v1::RenameVm { name: "shop".parse().unwrap() })).await;
    assert_eq!(plane.vm(&me(), &named("web")).await.unwrap_err().kind(), ErrorKind::NotFound);
    let resize = v1::ResizeVm { cpus: Some(Vcpus(3)), ..v1::ResizeVm::default() };
    act(&plane, "shop", VmAction::Resize(resize)).await;
    act(&plane, "shop", VmAction::Restart(v1::RestartVm {})).await;
    assert_eq!(plane.vm(&me(), &named("shop")).await.unwrap().cpus, Vcpus(3));

    let gone = act(&plane, "shop", VmAction::Destroy(v1::DestroyVm::default())).await;
    let census = world.host.census();
    assert!(census.is_empty() && census.offences.is_empty(), "{census:?}");
    let tomb = plane.vm(&me(), &VmRef::Id(gone.vm)).await.unwrap();
    assert!(tomb.deleted.is_some());

    let page = plane.events(&me(), EventSeq(0), 1_000, Duration::ZERO).await.unwrap();
    let verbs: Vec<_> = page
        .events
        .iter()
        .filter_map(|event| if let v1::EventBody::Ended { verb, .. } = event.body { Some(verb) } else { None })
        .collect();
    use OperationVerb::{Create, Destroy, Rename, Resize, Restart, Start, Stop};
    assert_eq!(verbs, [Create, Stop, Start, Restart, Rename, Resize, Restart, Destroy]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_takes_up_running_vms_without_touching_them() {
    let world = World::new().await;
    let plane = world.start().await;
    for name in ["a", "b", "c"] {
        let operation = plane.create(&me(), &new_vm(name), None).await.unwrap();
        done(&plane, operation).await;
    }
    let before = world.host.census().monitors;
    drop(plane);
    world.host.daemon_died();

    // The files' locks are free once the old threads have ended.
    let plane = loop {
        let journal = SqliteJournal::open(world.dir.path().join("journal.db"), POOL, world.env.clock.clone()).await;
        let fleet = SqliteFleet::open(world.dir.path().join("fleet.db")).await;
        if let (Ok(journal), Ok(fleet)) = (journal, fleet) {
            journal.close().await.unwrap();
            fleet.close().await.unwrap();
            break world.start().await;
        }
        tokio::task::yield_now().await;
    };
    let mut place = EventSeq(0);
    loop {
        let page = plane.vms(&me(), &v1::ListVms::default()).await.unwrap();
        if page.vms.iter().all(|vm| vm.state == VmState::Running) {
            break;
        }
        place = plane.events(&me(), place, 100, Duration::from_secs(5)).await.unwrap().next;
    }
    assert!(run(&plane, "b", &["hostname"]).await.contains('b'));
    assert_eq!(world.host.census().monitors, before, "INV-11: not one of them was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_dies_is_told_at_once_and_started_again() {
    let world = World::new().await;
    let plane = world.start().await;
    let operation = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let vm = done(&plane, operation).await.vm;
    let place = plane.last_event(&me()).await.unwrap();
    assert!(world.host.kill_vmm(vm));
    let mut seen = Vec::new();
    let mut after = place;
    while seen.last() != Some(&VmState::Running) {
        let page = plane.events(&me(), after, 100, Duration::from_secs(10)).await.unwrap();
        assert!(!page.events.is_empty(), "nothing was told after {seen:?}");
        after = page.next;
        for event in page.events {
            if let v1::EventBody::State { state, .. } = event.body {
                seen.push(state);
            }
        }
    }
    assert_eq!(seen.first(), Some(&VmState::Starting), "{seen:?}");
    assert_eq!(plane.vm(&me(), &named("web")).await.unwrap().restarts, 1);
    assert!(run(&plane, "web", &["echo", "back"]).await.contains("back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rp_4_a_monitor_that_dies_while_its_guest_boots_is_started_again_at_once() {
    let world = World::new().await;
    let plane = world.start().await;
    world.host.set_boot_time(Duration::from_secs(3_600));
    let operation = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    // Nothing is told before a guest is ready, so the host itself is looked at.
    let boots = || world.host.census().monitor(operation.vm).is_some_and(|monitor| monitor.phase == VmmPhase::Running);
    let begun = async {
        while !boots() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.unwrap();
    world.host.set_boot_time(Duration::ZERO);
    assert!(world.host.kill_vmm(operation.vm));
    // Long before its boot would have taken too long, and before the next look at everything.
    done(&plane, operation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_enters_a_vm_that_still_boots_waits_for_it() {
    let world = World::new().await;
    let plane = world.start().await;
    world.host.set_boot_time(Duration::from_millis(300));
    plane.create(&me(), &new_vm("web"), None).await.unwrap();
    assert!(run(&plane, "web", &["echo", "here"]).await.contains("here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_for_good_is_unwound_and_says_why() {
    let world = World::new().await;
    let plane = world.start().await;
    world.host.configure(|settings| settings.limits.storage = ByteSize::mib(64));
    let operation = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let operation = plane.operation(&me(), operation.id, Duration::from_secs(20)).await.unwrap();
    let v1::OperationOutcome::Failed { error } = &operation.outcome else { panic!("{operation:?}") };
    assert_eq!(error.kind, ErrorKind::Exhausted, "{error:?}");
    let mut place = EventSeq(0);
    while plane.vm(&me(), &VmRef::Id(operation.vm)).await.unwrap().deleted.is_none() {
        place = plane.events(&me(), place, 100, Duration::from_secs(5)).await.unwrap().next;
    }
    assert!(world.host.census().is_empty(), "{:?}", world.host.census());
    // INV-14: the failed one took nothing away with it, its name included.
    world.host.configure(|settings| settings.limits.storage = ByteSize::gib(1 << 10));
    let operation = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    done(&plane, operation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_monitor_never_starts_ends_although_each_try_is_cleared_away() {
    let world = World::new().await;
    let plane = world.start().await;
    world.host.configure(|settings| settings.guests.start_fails = Some(ErrorKind::Unavailable));
    let operation = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let operation = plane.operation(&me(), operation.id, Duration::from_secs(60)).await.unwrap();
    let v1::OperationOutcome::Failed { error } = &operation.outcome else { panic!("{operation:?}") };
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    assert!(error.message.contains("vmm_start"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_10_a_key_makes_a_repeat_harmless_and_another_request_an_error() {
    let world = World::new().await;
    let plane = world.start().await;
    let key = "k1".parse().unwrap();
    let (web, other) = (new_vm("web"), new_vm("other"));
    let owner = me();
    let (first, second) = tokio::join!(plane.create(&owner, &web, Some(&key)), plane.create(&owner, &web, Some(&key)));
    assert_eq!(first.unwrap().id, second.unwrap().id);
    let error = plane.create(&me(), &other, Some(&key)).await.unwrap_err();
    assert_eq!(error.reason(), Some("idempotency_key_reused"));
    assert_eq!(plane.vms(&me(), &v1::ListVms::default()).await.unwrap().vms.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_9_what_is_another_owners_is_as_if_it_were_not_there() {
    let world = World::new().await;
    let plane = world.start().await;
    let operation = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let operation = done(&plane, operation).await;
    let eve = Caller::tenant("eve");
    let absent = plane.vm(&eve, &named("nothing")).await.unwrap_err();
    for vm in [named("web"), VmRef::Id(operation.vm)] {
        let error = plane.vm(&eve, &vm).await.unwrap_err();
        assert_eq!((error.kind(), error.chain()), (absent.kind(), absent.chain()));
        let error = plane.act(&eve, &vm, &VmAction::Destroy(v1::DestroyVm::default()), None).await.unwrap_err();
        assert_eq!((error.kind(), error.chain()), (absent.kind(), absent.chain()));
        let error = plane.open(&eve, &vm, &GuestCall::Health).await.err().unwrap();
        assert_eq!((error.kind(), error.chain()), (absent.kind(), absent.chain()));
        assert_eq!(plane.console_log(&eve, &vm, 10).await.unwrap_err().chain(), absent.chain());
        assert_eq!(plane.console(&eve, &vm, 10).await.err().unwrap().chain(), absent.chain());
    }
    assert!(plane.operation(&eve, operation.id, Duration::ZERO).await.is_err());
    assert!(plane.events(&eve, EventSeq(0), 100, Duration::ZERO).await.unwrap().events.is_empty());
    assert!(plane.vms(&eve, &v1::ListVms::default()).await.unwrap().vms.is_empty());
    // The name is taken all the same, and says nothing of whose it is.
    let taken = plane.create(&eve, &new_vm("web"), None).await.unwrap_err();
    assert_eq!(taken.reason(), Some("name_taken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn host_lost_a_world_that_forgot_its_vms_gives_them_up_and_lets_them_be_destroyed() {
    let world = World::new().await;
    let plane = world.start().await;
    let operation = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    done(&plane, operation).await;
    drop(plane);
    let lost = World { host: InMemoryHost::new(), dir: tempfile::tempdir().unwrap(), env: Env::system() };
    std::fs::copy(world.dir.path().join("fleet.db"), lost.dir.path().join("fleet.db")).unwrap();
    let wal = world.dir.path().join("fleet.db-wal");
    if wal.exists() {
        std::fs::copy(wal, lost.dir.path().join("fleet.db-wal")).unwrap();
    }
    let plane = lost.start().await;
    assert_eq!(plane.declare_host_lost("the host was in memory").await.unwrap(), 1);
    let vm = plane.vm(&me(), &named("web")).await.unwrap();
    assert_eq!((vm.state, vm.reason.unwrap().code.as_str()), (VmState::Failed, "host_lost"));
    let error = plane.act(&me(), &named("web"), &VmAction::Start(v1::StartVm {}), None).await.unwrap_err();
    assert_eq!(error.reason(), Some("host_lost"));
    assert!(lost.host.census().is_empty(), "nothing was made anew");
    act(&plane, "web", VmAction::Destroy(v1::DestroyVm::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_3_sizes_that_no_guest_boots_with_are_refused_before_anything_is_made() {
    let world = World::new().await;
    world.host.configure(|settings| settings.limits.min_memory = ByteSize::mib(96));
    let plane = world.start().await;
    let (memory, data) = (Some(ByteSize::mib(96)), Some(ByteSize::mib(16)));
    let least = v1::CreateVm { memory, data_disk: data, ..new_vm("web") };
    let little_memory = v1::CreateVm { memory: Some(ByteSize::bytes((96 << 20) - 512)), ..least.clone() };
    let little_data = v1::CreateVm { data_disk: Some(ByteSize::bytes((16 << 20) - 512)), ..least.clone() };
    for (request, field) in [(little_memory, "memory"), (little_data, "data_disk")] {
        let error = plane.create(&me(), &request, None).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some(field)), "{}", error.chain());
    }
    assert!(plane.vms(&me(), &v1::ListVms::default()).await.unwrap().vms.is_empty());
    let operation = plane.create(&me(), &least, None).await.unwrap();
    done(&plane, operation).await;
    let smaller = v1::ResizeVm { memory: Some(ByteSize::mib(64)), ..v1::ResizeVm::default() };
    let error = plane.act(&me(), &named("web"), &VmAction::Resize(smaller), None).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("memory")), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebase_gives_a_new_root_disk_and_keeps_the_data_disk() {
    let world = World::new().await;
    let plane = world.start().await;
    let made = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let vm = done(&plane, made).await.vm;
    run(&plane, "web", &["sh", "-c", "echo root > /kept; echo data > /data/kept"]).await;
    let before = world.host.census().monitors[0].pid;

    act(&plane, "web", VmAction::Rebase(v1::RebaseVm::default())).await;
    assert_eq!(state(&plane, "web").await, VmState::Running);
    assert_ne!(world.host.census().monitors[0].pid, before, "it is started anew");
    assert_eq!(run(&plane, "web", &["cat", "/data/kept"]).await, "data\n");
    assert_eq!(run(&plane, "web", &["cat", "/kept"]).await, "", "the root disk is the image's again");
    let volumes: Vec<_> = world.host.census().volumes.iter().map(|volume| volume.id).collect();
    assert_eq!(volumes, [VolumeId::root(vm).at(1), VolumeId::data(vm)], "the old root disk is gone");

    // A stopped one stays so, with its new root disk made.
    run(&plane, "web", &["sh", "-c", "echo root > /kept"]).await;
    act(&plane, "web", VmAction::Stop(v1::StopVm::default())).await;
    act(&plane, "web", VmAction::Rebase(v1::RebaseVm::default())).await;
    assert_eq!(state(&plane, "web").await, VmState::Stopped);
    let volumes: Vec<_> = world.host.census().volumes.iter().map(|volume| volume.id).collect();
    assert_eq!(volumes, [VolumeId::root(vm).at(2), VolumeId::data(vm)]);
    act(&plane, "web", VmAction::Start(v1::StartVm {})).await;
    assert_eq!(run(&plane, "web", &["cat", "/kept"]).await, "");

    let nothing = VmAction::Rebase(v1::RebaseVm { image: Some("nothing".into()) });
    let refused = plane.act(&me(), &named("web"), &nothing, None).await.unwrap_err();
    assert_eq!(refused.field(), Some("image"));
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_grow_under_a_guest_that_runs_and_under_one_that_does_not() {
    let world = World::new().await;
    let plane = world.start().await;
    let small = v1::CreateVm { disk: Some(ByteSize::gib(1)), data_disk: Some(ByteSize::gib(1)), ..new_vm("web") };
    let made = plane.create(&me(), &small, None).await.unwrap();
    let vm = done(&plane, made).await.vm;
    let before = world.host.census().monitors[0].pid;
    let grow = |gib| {
        let size = Some(ByteSize::gib(gib));
        VmAction::Resize(v1::ResizeVm { disk: size, data_disk: size, ..v1::ResizeVm::default() })
    };
    let sizes = || {
        let census = world.host.census();
        let real: Vec<_> = census.volumes.iter().map(|volume| volume.size).collect();
        let shown: Vec<_> = census.monitor(vm).map(|monitor| monitor.shown.clone()).unwrap_or_default();
        (real, shown)
    };
    act(&plane, "web", grow(3)).await;
    assert_eq!(sizes(), (vec![ByteSize::gib(3); 2], vec![ByteSize::gib(3); 2]));
    assert_eq!(world.host.census().monitors[0].pid, before, "nothing was started anew");

    act(&plane, "web", VmAction::Stop(v1::StopVm::default())).await;
    act(&plane, "web", grow(4)).await;
    assert_eq!(sizes().0, vec![ByteSize::gib(4); 2]);
    let shrink = plane.act(&me(), &named("web"), &grow(2), None).await.unwrap_err();
    assert_eq!((shrink.kind(), shrink.field()), (ErrorKind::InvalidArgument, Some("disk")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_room_for_a_larger_disk_leaves_the_guest_alone_and_grows_it_later() {
    let world = World::new().await;
    let plane = world.start().await;
    let small = v1::CreateVm { disk: Some(ByteSize::gib(1)), data_disk: Some(ByteSize::gib(1)), ..new_vm("web") };
    let made = plane.create(&me(), &small, None).await.unwrap();
    done(&plane, made).await;
    let before = world.host.census().monitors[0].pid;
    world.host.configure(|settings| settings.limits.storage = ByteSize::gib(4));
    let grow = v1::ResizeVm { data_disk: Some(ByteSize::gib(8)), ..v1::ResizeVm::default() };
    let grown = plane.act(&me(), &named("web"), &VmAction::Resize(grow), None).await.unwrap();
    let waiting = plane.operation(&me(), grown.id, Duration::from_secs(2)).await.unwrap();
    assert_eq!(waiting.outcome, v1::OperationOutcome::Pending);
    let vm = plane.vm(&me(), &named("web")).await.unwrap();
    assert_eq!(vm.state, VmState::Running, "{vm:?}");
    assert!(vm.reason.is_some_and(|reason| reason.message.contains("full")), "it is told why");
    assert_eq!(run(&plane, "web", &["echo", "alive"]).await, "alive\n");
    world.host.configure(|settings| settings.limits.storage = ByteSize::gib(400));
    done(&plane, grown).await;
    assert_eq!(world.host.census().monitors[0].pid, before, "nothing was started anew");
    assert_eq!(plane.vm(&me(), &named("web")).await.unwrap().reason, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_disk_that_was_kept_is_taken_over_with_its_bytes_and_also_by_one_whose_create_fails() {
    let world = World::new().await;
    let plane = world.start().await;
    let made = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let old = done(&plane, made).await.vm;
    run(&plane, "web", &["sh", "-c", "echo mine > /data/kept"]).await;
    act(&plane, "web", VmAction::Destroy(v1::DestroyVm { keep_data: true })).await;
    let volumes: Vec<_> = world.host.census().volumes.iter().map(|volume| volume.id).collect();
    assert_eq!(volumes, [VolumeId::data(old)]);

    // Not another's to take, and not a word of it.
    let take = |name: &str| v1::CreateVm { data_from: Some(old), data_disk: None, ..new_vm(name) };
    let bob = Caller::tenant("bob");
    let refused = plane.create(&bob, &take("thief"), None).await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::NotFound, Some("disk_unknown")));
    assert_eq!(plane.disks(&bob, &v1::ListDisks::default()).await.unwrap().disks, []);

    // A create that fails for good leaves the disk as it was.
    world.host.configure(|settings| settings.guests.start_fails = Some(ErrorKind::Unsupported));
    let failing = plane.create(&me(), &take("bad"), None).await.unwrap();
    let failed = plane.operation(&me(), failing.id, Duration::from_secs(20)).await.unwrap();
    assert!(matches!(failed.outcome, v1::OperationOutcome::Failed { .. }), "{failed:?}");
    world.host.configure(|settings| settings.guests.start_fails = None);
    let gone = async {
        while plane.disks(&me(), &v1::ListDisks::default()).await.unwrap().disks.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the disk can be had again");

    let taken = plane.create(&me(), &take("next"), None).await.unwrap();
    done(&plane, taken).await;
    assert_eq!(run(&plane, "next", &["cat", "/data/kept"]).await, "mine\n");
    act(&plane, "next", VmAction::Destroy(v1::DestroyVm::default())).await;
    assert!(world.host.census().is_empty(), "without a wish to keep it, it goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_vm_that_was_never_up() {
    let world = World::new().await;
    let plane = world.start().await;
    world.host.configure(|settings| settings.guests.mute = true);
    let made = plane.create(&me(), &new_vm("web"), None).await.unwrap();
    let keep = VmAction::Destroy(v1::DestroyVm { keep_data: true });
    let refused = plane.act(&me(), &named("web"), &keep, None).await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Denied, Some("wrong_state")));
    act(&plane, "web", VmAction::Destroy(v1::DestroyVm::default())).await;
    let ended = plane.operation(&me(), made.id, Duration::from_secs(20)).await.unwrap();
    assert!(matches!(ended.outcome, v1::OperationOutcome::Failed { .. }), "{ended:?}");
    assert!(world.host.census().is_empty());
}
