//! The adapters of real hosts keep the contracts of their ports.
//!
//! QEMU and its helper are stood in for by `stub-vmm`, and Cloud Hypervisor too, so that every case runs in a moment and
//! everywhere. With `MINIONS_LAB` (see `lab`) and `MINIONS_REAL_SUITES=1` the very same cases run on real ones: some forty
//! boots for each; those of Cloud Hypervisor where `CLOUD_HYPERVISOR` names its program, on a host with KVM. `MINIONS_IMAGE` names
//! a folder with an image that is made already: `kernel`, `initrd` and `root.raw`.
#![cfg(all(
    feature = "testkit",
    feature = "stub-vmm",
    feature = "cloud-hypervisor",
    feature = "qemu",
    feature = "vhost-vsock",
    feature = "vsock",
    feature = "file-storage",
    feature = "user-network",
    feature = "image"
))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod cloud;
#[path = "../lab/mod.rs"]
mod lab;

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lab::{Lab, Leftovers};
use minions_core::api::guest::{GuestCall, PowerHow};
use minions_core::env::Env;
use minions_core::guest::vhost::VhostChannel;
use minions_core::guest::vsock::VsockChannel;
use minions_core::guest::{GuestChannel, GuestChannelExt, client};
use minions_core::host::files;
use minions_core::host::jail::{Limiter, Means};
use minions_core::hypervisor::cloud_hypervisor::{CloudHypervisor, CloudHypervisorConfig};
use minions_core::hypervisor::qemu::{Accel, QemuConfig, QemuHypervisor, Vsock};
use minions_core::hypervisor::{ConsoleBox, DynHypervisor, Hypervisor, VmmConfig, VmmPhase};
use minions_core::image::{BuildConfig, build_busybox};
use minions_core::network::user::{UserNetwork, UserNetworkConfig};
use minions_core::storage::VolumeStatus;
use minions_core::storage::file::FileStorage;
use minions_core::testkit::guest::{Boot, GuestScene};
use minions_core::testkit::hypervisor::{HypervisorScene, Prepare};
use minions_core::testkit::storage::{FileProbe, Probe, StorageScene};
use minions_core::testkit::{cx, skip};
use minions_core::types::{
    AgentSecret, BootFiles, ByteSize, Cid, DiskAttachment, DiskRole, Fences, FileDigest, GuestNet, ImageBundle,
    ImageDefaults, ImageManifest, MacAddr, NicAttachment, NicBackend, StopHow, Vcpus, VmId, VolumeId, names,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Three small files, and the id of what they hold.
fn bundle(folder: &Path) -> ImageBundle {
    let mut root = vec![7; 64 << 10];
    root.extend(vec![0; 1 << 20]);
    root.extend(vec![9; 4096]);
    let path = |name: &str| folder.join(name);
    std::fs::write(path("root"), &root).unwrap();
    std::fs::write(path("kernel"), b"kernel").unwrap();
    std::fs::write(path("initrd"), b"initrd").unwrap();
    let manifest = ImageManifest {
        name: "tiny".to_owned(),
        root: FileDigest::of(&root),
        kernel: FileDigest::of(b"kernel"),
        initrd: FileDigest::of(b"initrd"),
        defaults: ImageDefaults::default(),
    };
    let boot = BootFiles { kernel: path("kernel"), initrd: path("initrd") };
    ImageBundle { id: manifest.id(), name: manifest.name, root: path("root"), boot, defaults: manifest.defaults }
}

/// Holds a volume as a process does that locks nothing.
#[derive(Debug)]
struct Holding;

#[async_trait]
impl Probe for Holding {
    async fn fingerprint(&self, id: VolumeId, volume: &VolumeStatus, len: ByteSize) -> [u8; 32] {
        FileProbe.fingerprint(id, volume, len).await
    }

    async fn scribble(&self, id: VolumeId, volume: &VolumeStatus, bytes: &[u8]) {
        FileProbe.scribble(id, volume, bytes).await;
    }

    async fn hold(&self, _: VolumeId, volume: &VolumeStatus) -> Option<Box<dyn Any + Send>> {
        let file = files::open_write_existing(&volume.path).unwrap();
        Some(Box::new(file))
    }
}

minions_core::storage_suite!(file, async |folder: PathBuf| {
    let bundle = bundle(&folder);
    let mut tampered = bundle.clone();
    tampered.boot.kernel = folder.join("initrd");
    let storage = FileStorage::open(&folder.join("s"), Env::system()).await.unwrap();
    StorageScene { storage: Arc::new(storage), bundle, tampered: Some(tampered), probe: Box::new(Holding) }
});

minions_core::network_suite!(user, async |folder: PathBuf| {
    Arc::new(UserNetwork::open(&folder, UserNetworkConfig::default()).unwrap())
});

/// What VMs are run by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Qemu,
    Cloud,
}

/// An adapter that can be opened as often as daemons come and go.
#[derive(Clone)]
enum Config {
    Qemu(QemuConfig),
    Cloud(CloudHypervisorConfig),
}

impl Config {
    /// A daemon's view of a host.
    async fn open(self) -> DynHypervisor {
        match self {
            Self::Qemu(config) => Arc::new(QemuHypervisor::open(config, Env::system()).await.unwrap()),
            Self::Cloud(config) => Arc::new(CloudHypervisor::open(config, Env::system()).await.unwrap()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's switches")]
fn switch(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Whether the cases of this kind run on real guests.
fn real(kind: Kind) -> bool {
    let kind = kind == Kind::Qemu || switch("CLOUD_HYPERVISOR").is_some();
    kind && switch("MINIONS_REAL_SUITES").is_some()
}

/// Cloud Hypervisor is known by its name: to the stand-in, that is.
fn cloud_stub(dir: &Path) -> PathBuf {
    let path = dir.join("cloud-hypervisor");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stub-vmm"), &path).unwrap();
    path
}

/// What they boot.
async fn image(kind: Kind, dir: &Path) -> ImageBundle {
    if !real(kind) {
        return bundle(dir);
    }
    if let Some(made) = switch("MINIONS_IMAGE") {
        let boot = BootFiles { kernel: made.join("kernel"), initrd: made.join("initrd") };
        return ImageBundle { root: made.join("root.raw"), boot, ..bundle(dir) };
    }
    let lab = Lab::find("the suites on real monitors").expect("MINIONS_REAL_SUITES needs the lab");
    let build = BuildConfig {
        name: "busybox".to_owned(),
        work_dir: dir.join("w"),
        agent: lab.agent(),
        kernel: None,
        kernel_cache: lab.kernel_cache(),
        root_size: ByteSize::mib(32),
        tools: lab.tools(),
        mirror: None,
        defaults: ImageDefaults::default(),
    };
    build_busybox(&build, &|_| {}).await.unwrap()
}

/// A host of one folder with a short name, and what is in it.
struct Host {
    _leftovers: Leftovers,
    folder: tempfile::TempDir,
    kind: Kind,
    config: Config,
    hypervisor: DynHypervisor,
    image: ImageBundle,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

impl Host {
    async fn new(kind: Kind) -> Self {
        Self::with(kind, false).await
    }

    /// `kernel_vsock` in place of QEMU's helper.
    async fn with(kind: Kind, kernel_vsock: bool) -> Self {
        let folder = lab::folder("ch");
        let image = image(kind, folder.path()).await;
        let (run_dir, max_vcpus, max_memory) = (folder.path().join("r"), 4, ByteSize::gib(4));
        let stub = PathBuf::from(env!("CARGO_BIN_EXE_stub-vmm"));
        let config = match kind {
            Kind::Qemu => {
                let (qemu, vsock_helper) = match real(kind) {
                    true => Lab::find("QEMU").map(|lab| (lab.qemu.clone(), lab.helper())).unwrap(),
                    false => (stub.clone(), stub),
                };
                // The nested host has KVM, the machine that it runs on has not.
                let accel = if switch("MINIONS_LAB_KVM").is_some() { Accel::Kvm } else { Accel::Emulation };
                let vsock = if kernel_vsock { Vsock::kernel() } else { Vsock::Helper(vsock_helper) };
                Config::Qemu(QemuConfig { run_dir, qemu, vsock, accel, max_vcpus, max_memory })
            }
            Kind::Cloud => {
                let program = switch("CLOUD_HYPERVISOR").filter(|_| real(kind));
                let program = program.unwrap_or_else(|| cloud_stub(folder.path()));
                let jail = Some(stub);
                Config::Cloud(CloudHypervisorConfig { run_dir, program, jail, max_vcpus, max_memory })
            }
        };
        let hypervisor = config.clone().open().await;
        Self { _leftovers: Leftovers(folder.path().to_owned()), folder, kind, config, hypervisor, image }
    }

    fn real(&self) -> bool {
        real(self.kind)
    }

    fn vm(&self, id: VmId, epoch: u64, cid: Cid) -> VmmConfig {
        let path = self.folder.path().join(format!("{id}.raw"));
        if !path.exists() {
            std::fs::copy(&self.image.root, &path).unwrap();
        }
        let mac = MacAddr::local(u64::from(cid.get()));
        let net = GuestNet {
            ip: "10.213.0.20".parse().unwrap(),
            prefix: 16,
            gateway: "10.213.0.2".parse().unwrap(),
            dns: vec!["10.213.0.3".parse().unwrap()],
            mac,
        };
        let nic = match self.kind {
            Kind::Qemu => Some(NicAttachment { backend: NicBackend::User, mac, net }),
            // A tap interface is the network's matter.
            Kind::Cloud => None,
        };
        VmmConfig {
            id,
            epoch,
            vcpus: Vcpus(1),
            memory: ByteSize::mib(192),
            boot: self.image.boot.clone(),
            cmdline: String::new(),
            hostname: "case".to_owned(),
            disks: vec![DiskAttachment { role: DiskRole::Root, path }],
            nic,
            cid,
            secret: AgentSecret::from_bytes([u8::try_from(cid.get()).unwrap(); 32]),
            uid: 200_000,
            restore: None,
        }
    }
}

#[async_trait]
impl Prepare for Host {
    async fn config(&self, id: VmId, epoch: u64) -> VmmConfig {
        self.vm(id, epoch, Cid::FIRST)
    }

    async fn kill(&self, id: VmId) -> bool {
        // The monitor alone: its words name the VM with its epoch.
        let word = match self.kind {
            Kind::Qemu => format!("{id}@"),
            Kind::Cloud => format!("{id}/api."),
        };
        lab::kill_below(self.folder.path(), &word) == 1
    }

    fn greeting(&self) -> Option<&'static str> {
        Some("press Enter for a shell")
    }
}

#[async_trait]
impl Boot for Host {
    async fn boot(&self, id: VmId, cid: Cid) -> AgentSecret {
        let config = self.vm(id, 1, cid);
        self.hypervisor.ensure_running(&cx(), &config).await.unwrap();
        config.secret
    }

    async fn end(&self, id: VmId) {
        self.hypervisor.ensure_absent(&cx(), id, &StopHow::Force).await.unwrap();
    }
}

minions_core::hypervisor_suite!(cloud_hypervisor, async |_folder: PathBuf| {
    let host = Host::new(Kind::Cloud).await;
    HypervisorScene { hypervisor: host.hypervisor.clone(), prepare: Box::new(host) }
});

minions_core::hypervisor_suite!(qemu, async |_folder: PathBuf| {
    let host = Host::new(Kind::Qemu).await;
    HypervisorScene { hypervisor: host.hypervisor.clone(), prepare: Box::new(host) }
});

minions_core::guest_suite!(vsock_of_cloud_hypervisor, async |_folder: PathBuf| {
    let host = Host::new(Kind::Cloud).await;
    let guest = VsockChannel::open(&host.folder.path().join("r")).unwrap();
    GuestScene { guest: Arc::new(guest), boot: Some(Box::new(host)) }
});

minions_core::guest_suite!(vsock, async |_folder: PathBuf| {
    let host = Host::new(Kind::Qemu).await;
    let guest = VsockChannel::open(&host.folder.path().join("r")).unwrap();
    GuestScene { guest: Arc::new(guest), boot: Some(Box::new(host)) }
});

/// Whether guests can be reached through the kernel's own VSOCK here.
fn kernel_vsock() -> bool {
    real(Kind::Qemu) && std::fs::File::options().read(true).write(true).open("/dev/vhost-vsock").is_ok()
}

minions_core::guest_suite!(vhost, async |_folder: PathBuf| {
    if kernel_vsock() {
        let host = Host::with(Kind::Qemu, true).await;
        return GuestScene { guest: Arc::new(VhostChannel::open().unwrap()), boot: Some(Box::new(host)) };
    }
    skip("guests behind the kernel's VSOCK", "no real QEMU was asked for, or there is no /dev/vhost-vsock");
    // Doors need no guest. Any port that is free: the cases run side by side.
    GuestScene { guest: Arc::new(VhostChannel::open_at(u32::MAX).unwrap()), boot: None }
});

#[tokio::test]
async fn vhost_a_context_id_that_somebody_has_starts_no_monitor_and_is_free_when_it_is_given_back() {
    if !kernel_vsock() {
        return skip(
            "context ids of the kernel's VSOCK",
            "no real QEMU was asked for, or there is no /dev/vhost-vsock",
        );
    }
    let host = Host::with(Kind::Qemu, true).await;
    let first = host.vm(VmId::from_bits(1), 1, Cid::FIRST);
    host.hypervisor.ensure_running(&cx(), &first).await.unwrap();
    let second = host.vm(VmId::from_bits(2), 1, Cid::FIRST);
    let error = host.hypervisor.ensure_running(&cx(), &second).await.expect_err("it is the first one's");
    assert_eq!((error.kind(), error.reason()), (minions_core::ErrorKind::Unavailable, Some("cid_taken")));
    host.hypervisor.ensure_absent(&cx(), second.id, &StopHow::Force).await.unwrap();
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), [first.id]);
    host.hypervisor.ensure_absent(&cx(), first.id, &StopHow::Force).await.unwrap();
    host.hypervisor.ensure_running(&cx(), &second).await.unwrap();
    host.hypervisor.ensure_absent(&cx(), second.id, &StopHow::Force).await.unwrap();
    assert_eq!(lab::processes(host.folder.path(), ""), Vec::<i32>::new());
}

#[test]
fn whoever_reads_the_output_knows_what_the_suites_ran_on() {
    for (kind, name) in [(Kind::Qemu, "QEMU"), (Kind::Cloud, "Cloud Hypervisor")] {
        if !real(kind) {
            skip(&format!("the suites on real {name}"), "it was not asked for; they ran on stub-vmm");
        }
    }
}

async fn inv_3_two_monitors_never_share_a_disk(host: Host) {
    let config = host.vm(VmId::from_bits(1), 1, Cid::FIRST);
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let thief = VmmConfig { disks: config.disks.clone(), ..host.vm(VmId::from_bits(2), 1, Cid::new(4).unwrap()) };
    let error = host.hypervisor.ensure_running(&cx(), &thief).await.expect_err("the disk is another VM's");
    assert!(error.chain().contains("lock"), "{}", error.chain());
    host.hypervisor.ensure_absent(&cx(), thief.id, &StopHow::Force).await.unwrap();
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), [config.id]);
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(lab::processes(host.folder.path(), ""), Vec::<i32>::new());
}

async fn bad_23_a_missing_kernel_or_initrd_starts_nothing(host: Host) {
    for what in ["kernel", "initrd"] {
        let mut config = host.vm(VmId::from_bits(3), 1, Cid::FIRST);
        let path = if what == "kernel" { &mut config.boot.kernel } else { &mut config.boot.initrd };
        *path = PathBuf::from("/nonexistent/file");
        let error = host.hypervisor.ensure_running(&cx(), &config).await.expect_err("it is not there");
        assert_eq!((error.kind(), error.reason()), (minions_core::ErrorKind::NotFound, Some("host_misconfigured")));
        assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), [], "something of it is left");
    }
}

/// A guest is started, and powers itself off as soon as it can be told to.
async fn start_and_power_off(host: &Host, config: &VmmConfig) {
    let guests = VsockChannel::open(&host.folder.path().join("r")).unwrap();
    guests.ensure_open(&cx(), config.id, config.cid).await.unwrap();
    host.hypervisor.ensure_running(&cx(), config).await.unwrap();
    let status = host.hypervisor.observe(&cx(), config.id).await.unwrap().unwrap();
    assert_eq!((status.epoch, status.phase), (config.epoch, VmmPhase::Running));
    guests.await_ready(&cx(), config.id, &config.secret, &*Env::system().clock).await.unwrap();
    let call = GuestCall::Shutdown { how: PowerHow::Orderly };
    let io = guests.open(&cx(), config.id, &config.secret, &call).await.unwrap();
    client::shutdown(io, cx().deadline).await.unwrap();
}

async fn what_a_guest_said_before_it_ended_by_itself_can_be_read_after_its_monitor_is_gone(host: Host) {
    let mut config = host.vm(VmId::from_bits(4), 1, Cid::FIRST);
    start_and_power_off(&host, &config).await;
    // Two wait, and both are told.
    let wait = async || host.hypervisor.wait_exit(&cx(), config.id).await;
    let (one, other) = tokio::join!(wait(), wait());
    one.and(other).unwrap();
    let phase = host.hypervisor.observe(&cx(), config.id).await.unwrap().map(|status| status.phase);
    assert_eq!(phase, Some(VmmPhase::Exited));
    // Nobody has read the log until now.
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
    let said = async || {
        let log = host.hypervisor.console_log(&cx(), config.id, 1 << 20).await.unwrap();
        String::from_utf8_lossy(&log).into_owned()
    };
    let last = if host.real() { "Power down" } else { "stub: powered off" };
    assert!(said().await.contains(last), "{}", said().await);
    // What the next guest says comes behind it.
    config.epoch = 2;
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let both = said().await;
    assert!(both.find(last).is_some_and(|at| host.real() || both[at..].contains("stub: up")), "{both}");
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(lab::processes(host.folder.path(), ""), Vec::<i32>::new());
}

async fn a_start_clears_away_a_monitor_whose_guest_has_ended(host: Host) {
    let mut config = host.vm(VmId::from_bits(5), 1, Cid::FIRST);
    for epoch in [1, 1, 2] {
        config.epoch = epoch;
        start_and_power_off(&host, &config).await;
        host.hypervisor.wait_exit(&cx(), config.id).await.unwrap();
    }
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::DEFAULT).await.unwrap();
    assert_eq!(lab::processes(host.folder.path(), ""), Vec::<i32>::new());
}

/// What was read when a text came. A guest that goes on to say other things is no reason to wait for ever. Where whoever
/// reads its line leaves, Cloud Hypervisor 53 lets the guest read a NUL from it, which a terminal shows as `^@`.
async fn until(console: &mut ConsoleBox, text: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&read).replace("^@", "").contains(text) {
            let count = console.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "the end, and no {text}: {}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&piece[..count]);
        }
    };
    let late = tokio::time::timeout(Duration::from_secs(120), reading).await;
    let read = String::from_utf8_lossy(&read).into_owned();
    assert!(late.is_ok(), "no {text:?} in {read:?}");
    read
}

async fn a_daemon_that_dies_while_somebody_is_attached_leaves_a_line_that_the_next_one_takes_back(host: Host) {
    for (number, observed) in [(4, true), (5, false)] {
        let (id, word) = (VmId::from_bits(number.into()), "a-word");
        let config = host.vm(id, 1, Cid::new(number).unwrap());
        host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
        // A daemon with a runtime of its own, whose tasks and files go with it.
        let config = host.config.clone();
        let died = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let console = runtime.block_on(async {
                let mut console = config.open().await.console(&cx(), id, 1 << 20).await.unwrap();
                until(&mut console, "press Enter for a shell").await;
                console.write_all(word.as_bytes()).await.unwrap();
                until(&mut console, word).await;
                console
            });
            drop((runtime, console));
        });
        tokio::task::spawn_blocking(move || died.join().unwrap()).await.unwrap();
        let next = host.config.clone().open().await;
        if observed {
            // Whoever only looks at the VM turns the line back: what the guest says from then on is kept.
            next.observe(&cx(), id).await.unwrap().expect("it runs");
        }
        assert!(String::from_utf8_lossy(&next.console_log(&cx(), id, 1 << 20).await.unwrap()).contains(word));
        let mut console = next.console(&cx(), id, 1 << 20).await.unwrap();
        console.write_all(b"-again").await.unwrap();
        until(&mut console, &format!("{word}-again")).await;
        next.ensure_absent(&cx(), id, &StopHow::Force).await.unwrap();
    }
    assert_eq!(lab::processes(host.folder.path(), ""), Vec::<i32>::new());
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
}

async fn what_a_guest_says_last_is_kept_while_somebody_is_attached(host: Host) {
    let config = host.vm(VmId::from_bits(7), 1, Cid::FIRST);
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let mut console = host.hypervisor.console(&cx(), config.id, 1 << 20).await.unwrap();
    start_and_power_off(&host, &config).await;
    host.hypervisor.wait_exit(&cx(), config.id).await.unwrap();
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    let last = if host.real() { "Power down" } else { "stub: powered off" };
    let mut heard = Vec::new();
    console.read_to_end(&mut heard).await.unwrap();
    let log = host.hypervisor.console_log(&cx(), config.id, 1 << 20).await.unwrap();
    for said in [&heard, &log] {
        let said = String::from_utf8_lossy(said);
        assert_eq!(said.matches(last).count(), 1, "{said}");
    }
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
}

/// Each of these for every monitor.
macro_rules! for_each_monitor {
    ($($case:ident),+ $(,)?) => {
        mod on_qemu {
            $(#[tokio::test] async fn $case() { super::$case(super::Host::new(super::Kind::Qemu).await).await; })+
        }
        mod on_cloud_hypervisor {
            $(#[tokio::test] async fn $case() { super::$case(super::Host::new(super::Kind::Cloud).await).await; })+
        }
    };
}

for_each_monitor!(
    inv_3_two_monitors_never_share_a_disk,
    bad_23_a_missing_kernel_or_initrd_starts_nothing,
    what_a_guest_said_before_it_ended_by_itself_can_be_read_after_its_monitor_is_gone,
    a_start_clears_away_a_monitor_whose_guest_has_ended,
    a_daemon_that_dies_while_somebody_is_attached_leaves_a_line_that_the_next_one_takes_back,
    what_a_guest_says_last_is_kept_while_somebody_is_attached,
);
