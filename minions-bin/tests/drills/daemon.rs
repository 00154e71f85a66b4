//! The real daemon in a folder of its own, with programs that stand in for QEMU and its helper, or with the real ones.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use minions_core::api::v1;
use minions_core::http::client::{Endpoint, HttpControlPlane};
use minions_core::image::{ImageTools, fetch_kernel};
use minions_core::service::{Caller, ControlPlane, IdempotencyKey, VmAction, VmRef};
use minions_core::types::{
    BootFiles, ByteSize, EventSeq, FileDigest, ImageBundle, ImageDefaults, ImageManifest, OperationId, Vcpus, VmId,
    VmState,
};

/// The program under test.
pub fn minions() -> PathBuf {
    std::env::var_os("MINIONS_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_minions")), PathBuf::from)
}

/// What VMs are run by.
#[derive(Clone, Debug)]
pub struct Programs {
    qemu: PathBuf,
    helper: PathBuf,
    /// The folder of the lab, where guests are real.
    pub lab: Option<PathBuf>,
}

impl Programs {
    /// The stub, which lies beside the binary under test once the workspace was built.
    pub fn stub(test: &str) -> Option<Self> {
        let stub = Path::new(env!("CARGO_BIN_EXE_minions")).with_file_name("stub-vmm");
        if !stub.is_file() {
            println!("SKIP {test}: no {}; build the workspace with --all-features", stub.display());
            return None;
        }
        Some(Self { qemu: stub.clone(), helper: stub, lab: None })
    }

    /// Puts them where the daemon of this folder looks first.
    pub fn link(&self, dir: &Path) {
        let bin = dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(&self.qemu, bin.join("qemu-system-x86_64")).unwrap();
        std::os::unix::fs::symlink(&self.helper, bin.join("vhost-device-vsock")).unwrap();
    }

    /// The real ones.
    pub fn real(test: &str) -> Option<Self> {
        let Some(lab) = std::env::var_os("MINIONS_LAB").map(PathBuf::from) else {
            println!("SKIP {test}: MINIONS_LAB names no folder with programs for real guests");
            return None;
        };
        let (qemu, helper) = (PathBuf::from("/usr/bin/qemu-system-x86_64"), lab.join("bin").join("vhost-device-vsock"));
        for program in [&qemu, &helper, &lab.join("bin").join("minions-agent")] {
            if !program.is_file() {
                println!("SKIP {test}: no {}", program.display());
                return None;
            }
        }
        Some(Self { qemu, helper, lab: Some(lab) })
    }
}

/// A folder that a daemon keeps everything in, and what it takes to talk to that daemon.
pub struct Site {
    folder: tempfile::TempDir,
    pub plane: Arc<HttpControlPlane>,
    programs: Programs,
}

/// A daemon that runs.
pub struct Daemon(Child);

fn client(folder: &Path) -> Arc<HttpControlPlane> {
    let endpoint: Endpoint = format!("unix://{}", folder.join("d/minions.sock").display()).parse().unwrap();
    Arc::new(HttpControlPlane::new(endpoint, None))
}

/// Whether it is about a VM that is now in this state.
pub fn is_state(body: &v1::EventBody, state: VmState) -> bool {
    matches!(body, v1::EventBody::State { state: now, .. } if *now == state)
}

pub fn me() -> Caller {
    Caller::tenant("me")
}

impl Site {
    /// With programs, and no daemon yet.
    pub fn new(programs: Programs) -> Self {
        let folder = tempfile::Builder::new().prefix("mnd").tempdir_in("/tmp").unwrap();
        programs.link(&folder.path().join("d"));
        Self { plane: client(folder.path()), folder, programs }
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    /// The command line in this folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(minions());
        command.arg("--dir").arg(self.dir()).args(words).stdin(Stdio::null());
        command
    }

    /// A place beside the daemon's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder that brings the real programs.
    pub fn lab(&self) -> &Path {
        self.programs.lab.as_deref().unwrap()
    }

    /// Runs a command, which must end well; what it wrote.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {}: {said}{}", output.status, self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start(&mut self) -> Daemon {
        let child = self.spawn();
        self.ready(child)
    }

    /// Starts the daemon.
    pub fn spawn(&self) -> Child {
        let log = File::options().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let mut command = self.command(&["serve", "--backend", "qemu"]);
        command.stdout(Stdio::piped()).stderr(log).spawn().unwrap()
    }

    /// Waits until it says that it is ready.
    pub fn ready(&mut self, mut child: Child) -> Daemon {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if !line.starts_with("ready:") {
            panic!("{:?}, {line:?}: {}", child.wait(), self.log());
        }
        // A new client: its connections are to this daemon.
        self.plane = client(self.folder.path());
        Daemon(child)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Makes an image of real parts, with the lab's agent and kernel; what was printed of it.
    pub async fn make_image(&self, words: &[&str]) -> serde_json::Value {
        let kernel = fetch_kernel(&self.lab().join("kernel"), &ImageTools::find()).await.unwrap();
        let mut command = self.command(words);
        command.arg("--agent").arg(self.lab().join("bin/minions-agent"));
        command.arg("--kernel").arg(kernel.kernel).arg("--modules").arg(kernel.modules).arg("--json");
        let made = command.output().unwrap();
        assert!(made.status.success(), "{words:?}: {}{}", String::from_utf8_lossy(&made.stderr), self.log());
        serde_json::from_slice(&made.stdout).unwrap()
    }

    /// An image to make VMs from.
    pub async fn image(&self) {
        if self.programs.lab.is_some() {
            self.make_image(&["image", "build", "busybox"]).await;
            return;
        }
        let dir = self.folder.path();
        let file = |name: &str, bytes: &[u8]| {
            fs::write(dir.join(name), bytes).unwrap();
            FileDigest::of(bytes)
        };
        let manifest = ImageManifest {
            name: "stub".to_owned(),
            root: file("root", &vec![7; 1 << 20]),
            kernel: file("kernel", b"kernel"),
            initrd: file("initrd", b"initrd"),
            defaults: ImageDefaults { cmdline: "stub.ready_ms=30".to_owned(), ..ImageDefaults::default() },
        };
        let boot = BootFiles { kernel: dir.join("kernel"), initrd: dir.join("initrd") };
        let (id, name, defaults) = (manifest.id(), manifest.name, manifest.defaults);
        let bundle = ImageBundle { id, name, root: dir.join("root"), boot, defaults };
        self.plane.import_image(&me(), &bundle).await.unwrap();
    }

    pub fn new_vm(&self, name: &str) -> v1::CreateVm {
        let real = self.programs.lab.is_some();
        v1::CreateVm {
            cpus: Some(Vcpus(1)),
            memory: Some(ByteSize::mib(if real { 192 } else { 128 })),
            disk: Some(ByteSize::mib(if real { 512 } else { 2 })),
            data_disk: Some(ByteSize::mib(16)),
            ..v1::CreateVm::named(name.parse().unwrap())
        }
    }

    /// Makes a VM and waits until it runs.
    pub async fn create(&self, name: &str) -> VmId {
        let operation = self.plane.create(&me(), &self.new_vm(name), None).await.unwrap();
        self.succeeds(operation.id).await;
        operation.vm
    }

    pub async fn act(&self, vm: VmId, action: &VmAction, key: Option<&IdempotencyKey>) -> v1::Operation {
        self.plane.act(&me(), &VmRef::Id(vm), action, key).await.unwrap()
    }

    /// Waits for the end of an operation.
    pub async fn ends(&self, id: OperationId) -> v1::Operation {
        let until = tokio::time::Instant::now() + Duration::from_secs(180);
        loop {
            let operation = self.plane.operation(&me(), id, Duration::from_secs(20)).await.unwrap();
            if operation.outcome != v1::OperationOutcome::Pending {
                return operation;
            }
            assert!(tokio::time::Instant::now() < until, "LIV-4: {operation:?} never ends: {}", self.log());
        }
    }

    /// The next event that fits.
    pub async fn event(&self, after: EventSeq, within: Duration, fits: impl Fn(&v1::EventBody) -> bool) -> v1::Event {
        let until = tokio::time::Instant::now() + within;
        let mut after = after;
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let page = self.plane.events(&me(), after, 100, left).await.unwrap();
            if let Some(event) = page.events.iter().find(|event| fits(&event.body)) {
                return event.clone();
            }
            assert!(!left.is_zero(), "it did not happen within {within:?}: {}", self.log());
            after = page.next;
        }
    }

    /// Waits until a VM has left its running, and is back.
    pub async fn runs_again(&self, after: EventSeq) {
        let within = Duration::from_secs(120);
        let left = self.event(after, within, |body| is_state(body, VmState::Starting)).await;
        self.event(left.seq, within, |body| is_state(body, VmState::Running)).await;
    }

    pub async fn succeeds(&self, id: OperationId) {
        let ended = self.ends(id).await;
        assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded, "{ended:?}: {}", self.log());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // VMs outlive daemons, as they should; not tests.
        for process in crate::census::processes(&self.dir()) {
            if let Some(pid) = rustix::process::Pid::from_raw(process.pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

impl Daemon {
    /// As `kill -9` does.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        self::signal(&self.0, signal);
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Ends it in an orderly way.
    pub fn end(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It outlives no test that failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
