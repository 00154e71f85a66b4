//! The real parts together: an image is built, taken in, booted by QEMU, entered through its VSOCK, stopped, started
//! and taken away without a trace. Two boots.
#![cfg(all(
    feature = "qemu",
    feature = "vsock",
    feature = "file-storage",
    feature = "user-network",
    feature = "image"
))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod lab;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::Lab;
use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::env::{CallCx, Env};
use minions_core::guest::client::{ExecItem, exec};
use minions_core::guest::vsock::VsockChannel;
use minions_core::guest::{GuestChannel, GuestChannelExt, GuestReady};
use minions_core::hypervisor::qemu::{Accel, QemuConfig, QemuHypervisor, Vsock};
use minions_core::hypervisor::{Hypervisor, VmmConfig, VmmPhase};
use minions_core::image::{
    BUSYBOX, BakeConfig, BuildConfig, DEBIAN, DebianConfig, Progress, bake_agent, build_busybox, build_debian,
};
use minions_core::network::user::{UserNetwork, UserNetworkConfig};
use minions_core::network::{Network, PortConfig};
use minions_core::storage::file::FileStorage;
use minions_core::storage::{Storage, StorageExt, VolumeConfig, VolumeSource};
use minions_core::types::{
    AgentSecret, ByteSize, Cid, DiskAttachment, DiskRole, ImageBundle, ImageDefaults, ImageInfo, MacAddr, PortPolicy,
    StopHow, Vcpus, VmId, VolumeId,
};

fn cx() -> CallCx {
    CallCx::new("test", Duration::from_secs(180))
}

/// A host of real parts in one folder, and one VM on it.
struct Host {
    dir: PathBuf,
    env: Env,
    storage: FileStorage,
    network: UserNetwork,
    hypervisor: QemuHypervisor,
    guests: VsockChannel,
    id: VmId,
    secret: AgentSecret,
}

impl Host {
    async fn open(lab: &Lab, dir: &Path) -> Self {
        let env = Env::system();
        let config = QemuConfig {
            run_dir: dir.join("r"),
            qemu: lab.qemu.clone(),
            vsock: Vsock::Helper(lab.helper()),
            accel: Accel::Emulation,
            max_vcpus: 4,
            max_memory: ByteSize::gib(4),
        };
        Self {
            dir: dir.to_owned(),
            storage: FileStorage::open(&dir.join("s"), env.clone()).await.unwrap(),
            network: UserNetwork::open(&dir.join("n"), UserNetworkConfig::default()).unwrap(),
            hypervisor: QemuHypervisor::open(config, env.clone()).await.unwrap(),
            guests: VsockChannel::open(&dir.join("r")).unwrap(),
            id: VmId::from_bits(0x0192_8374_6519_2837_4651_9283_7465_1928),
            secret: AgentSecret::from_bytes([0x5a; 32]),
            env,
        }
    }

    fn build(&self, lab: &Lab, name: &str, size: ByteSize) -> BuildConfig {
        BuildConfig {
            name: name.to_owned(),
            work_dir: self.dir.join("w"),
            agent: lab.agent(),
            kernel: None,
            kernel_cache: lab.kernel_cache(),
            root_size: size,
            tools: lab.tools(),
            mirror: None,
            defaults: ImageDefaults::default(),
        }
    }

    /// Builds an image and takes it in.
    async fn image(&self, lab: &Lab, name: &str, size: ByteSize) -> ImageInfo {
        let build = self.build(lab, name, size);
        let said = |progress: Progress| eprintln!("{}/{} {}", progress.number, progress.of, progress.step);
        let built = match name {
            DEBIAN => build_debian(&build, &DebianConfig::default(), &said).await,
            _ => build_busybox(&build, &said).await,
        };
        let bundle = built.unwrap_or_else(|error| panic!("{}", error.chain()));
        self.take_in(&bundle, &build.work_dir).await
    }

    async fn take_in(&self, bundle: &ImageBundle, work_dir: &Path) -> ImageInfo {
        self.storage.ensure_image(&cx(), bundle).await.unwrap();
        std::fs::remove_dir_all(work_dir).unwrap();
        self.storage.images(&cx()).await.unwrap().remove(0)
    }

    async fn config(&self, image: &ImageInfo, epoch: u64) -> VmmConfig {
        let root = ByteSize::bytes(image.root_size.get() * 2);
        let mut disks = Vec::new();
        for (role, size, source) in [
            (DiskRole::Root, root, VolumeSource::Image(image.id)),
            (DiskRole::Data, ByteSize::mib(512), VolumeSource::Empty),
        ] {
            let id = VolumeId { vm: self.id, role, turn: 0 };
            self.storage.ensure_volume(&cx(), &VolumeConfig { id, size, source }).await.unwrap();
            let path = self.storage.volume(&cx(), id).await.unwrap().unwrap().path;
            disks.push(DiskAttachment { role, path });
        }
        let port = PortConfig {
            id: self.id,
            ip: Ipv4Addr::new(10, 213, 0, 20),
            mac: MacAddr::local(20),
            uid: 200_000,
            policy: PortPolicy::default(),
        };
        self.network.ensure_port(&cx(), &port).await.unwrap();
        VmmConfig {
            id: self.id,
            epoch,
            vcpus: Vcpus(1),
            memory: ByteSize::mib(if image.name == BUSYBOX { 256 } else { 512 }),
            boot: image.boot.clone(),
            cmdline: image.defaults.cmdline.clone(),
            hostname: "web".to_owned(),
            disks,
            nic: self.network.observe(&cx(), self.id).await.unwrap().unwrap().nic,
            cid: Cid::FIRST,
            secret: self.secret.clone(),
            uid: 200_000,
            restore: None,
        }
    }

    async fn boot(&self, config: &VmmConfig) -> GuestReady {
        self.guests.ensure_open(&cx(), self.id, config.cid).await.unwrap();
        let report = self.hypervisor.ensure_running(&cx(), config).await.unwrap();
        eprintln!("{report:?}");
        let limit = CallCx::new("boot", Duration::from_secs(120));
        match self.guests.await_ready(&limit, self.id, &self.secret, &*self.env.clock).await {
            Ok(ready) => ready,
            Err(error) => {
                let log = self.hypervisor.console_log(&cx(), self.id, 8000).await.unwrap();
                panic!("{}\n{}", error.chain(), String::from_utf8_lossy(&log));
            }
        }
    }

    async fn run(&self, words: &[&str]) -> String {
        self.try_run(words).await.unwrap()
    }

    async fn try_run(&self, words: &[&str]) -> minions_core::Result<String> {
        let call = GuestCall::Exec(ExecRequest::new(words.iter().copied()));
        let io = self.guests.open(&cx(), self.id, &self.secret, &call).await?;
        let (_input, mut output) = exec(io);
        let mut text = Vec::new();
        while let Some(item) = output.next().await? {
            match item {
                ExecItem::Stdout(bytes) | ExecItem::Stderr(bytes) => text.extend_from_slice(&bytes),
                ExecItem::End(end) => text.extend(format!("[{}]", end.exit_code()).bytes()),
                ExecItem::Started { .. } => {}
            }
        }
        Ok(String::from_utf8(text).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_guest_lives_keeps_its_disks_and_goes_without_a_trace() {
    let Some(lab) = Lab::find("a_real_guest_lives_keeps_its_disks_and_goes_without_a_trace") else { return };
    let folder = lab::folder("vm");
    let _leftovers = lab::Leftovers(folder.path().to_owned());
    let host = Host::open(&lab, folder.path()).await;
    let image = host.image(&lab, BUSYBOX, ByteSize::mib(64)).await;
    let config = host.config(&image, 1).await;

    let ready = host.boot(&config).await;
    eprintln!("{ready:?}");
    // The guest's kernel and its disk, not the host's and not the initrd.
    assert!(ready.root.contains("/dev/vda"), "{ready:?}");
    let uname = host.run(&["uname", "-a"]).await;
    assert!(uname.contains("cloud-amd64") && uname.contains(" web "), "{uname}");
    let mounts = host.run(&["cat", "/proc/mounts"]).await;
    assert!(mounts.contains("/dev/vda / ext4 rw") && mounts.contains("/dev/vdb /data ext4 rw"), "{mounts}");
    assert_eq!(host.run(&["sh", "-c", "echo kept > /data/note; echo kept > /root/note; sync; exit 3"]).await, "[3]");
    // Its monitor is nobody who could do anything here.
    if minions_core::host::process::may_start_as_others() {
        let pid = lab::processes(folder.path(), &format!("{}@", host.id))[0];
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in ["Uid:\t200000\t200000\t200000\t200000", "Gid:\t200000\t200000\t200000\t200000"] {
            assert!(status.contains(line), "{status}");
        }
        assert!(status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"), "{status}");
    }
    // The secret was for its first process; a user of the guest finds it nowhere.
    let secret = host.run(&["sh", "-c", "cat /minions/secret; grep -c 5a5a /proc/cmdline"]).await;
    assert!(secret.contains("No such file") && secret.contains("0\n"), "{secret}");
    let address = host.run(&["sh", "-c", "ip addr show eth0; ip route; cat /etc/resolv.conf"]).await;
    for word in ["10.213.0.20/16", "default via 10.213.0.2", "nameserver 10.213.0.3"] {
        assert!(address.contains(word), "no {word} in {address}");
    }

    // A daemon that starts anew finds it by its key, with its epoch, and its door can be opened again.
    drop(host);
    let host = Host::open(&lab, folder.path()).await;
    let status = host.hypervisor.observe(&cx(), host.id).await.unwrap().unwrap();
    assert_eq!((status.phase, status.epoch), (VmmPhase::Running, 1));
    host.guests.ensure_open(&cx(), host.id, config.cid).await.unwrap();
    assert_eq!(host.run(&["cat", "/data/note"]).await, "kept\n[0]");

    // Its volumes are in use, and stay.
    let root = VolumeId::root(host.id);
    let error = host.storage.ensure_volume_absent(&cx(), root).await.unwrap_err();
    assert_eq!(error.kind(), minions_core::ErrorKind::Conflict);

    // The helper's death is the monitor's.
    let exit = tokio::spawn({
        let hypervisor = host.hypervisor.clone();
        let id = host.id;
        async move { hypervisor.wait_exit(&cx(), id).await }
    });
    assert_eq!(lab::kill_below(folder.path(), "vhost-device-vsock"), 1);
    exit.await.unwrap().unwrap();
    let status = host.hypervisor.observe(&cx(), host.id).await.unwrap().unwrap();
    assert_eq!((status.phase, status.epoch), (VmmPhase::Exited, 1));

    // The next start clears that away; both disks are as they were left.
    let config = host.config(&image, 2).await;
    host.boot(&config).await;
    assert_eq!(host.run(&["cat", "/data/note", "/root/note"]).await, "kept\nkept\n[0]");

    host.hypervisor.ensure_absent(&cx(), host.id, &StopHow::Graceful { grace_ms: 500 }).await.unwrap();
    host.guests.ensure_absent(&cx(), host.id).await.unwrap();
    host.network.ensure_absent(&cx(), host.id).await.unwrap();
    for role in [DiskRole::Root, DiskRole::Data] {
        host.storage.ensure_volume_absent(&cx(), VolumeId { vm: host.id, role, turn: 0 }).await.unwrap();
    }
    host.storage.ensure_image_absent(&cx(), image.id).await.unwrap();
    assert_eq!(files_below(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(lab::processes(folder.path(), ""), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: asks Debian's mirror for a hundred packages, and boots systemd"]
async fn a_debian_of_our_own_boots_its_systemd_with_the_agent_beside_it() {
    const NAME: &str = "a_debian_of_our_own_boots_its_systemd_with_the_agent_beside_it";
    let Some(lab) = Lab::find(NAME) else { return };
    let folder = lab::folder("deb");
    let _leftovers = lab::Leftovers(folder.path().to_owned());
    let host = Host::open(&lab, folder.path()).await;
    let image = host.image(&lab, DEBIAN, ByteSize::gib(1)).await;
    let config = host.config(&image, 1).await;
    let ready = host.boot(&config).await;
    eprintln!("{ready:?}");
    // The agent answers before systemd does.
    let wait = "until [ -S /run/systemd/private ]; do sleep 0.2; done; systemctl is-system-running --wait";
    let state = host.run(&["sh", "-c", wait]).await;
    assert!(state.starts_with("running\n"), "{state}{}", host.run(&["systemctl", "--failed", "--no-pager"]).await);
    assert_eq!(host.run(&["readlink", "/proc/1/exe"]).await, "/usr/lib/systemd/systemd\n[0]");
    let machine = host.run(&["sh", "-c", "wc -c < /etc/machine-id; hostname; df -h /"]).await;
    assert!(machine.starts_with("33\nweb\n") && machine.contains("/dev/vda"), "{machine}");
    // It is settled: a person with sudo, its language, its clock, a bounded journal, discards, its name and its resolvers.
    for (words, wanted) in [
        ("runuser -u debian -- sudo -n id -u", "0\n[0]"),
        ("runuser -l debian -c 'locale charmap; pwd; test -O .bashrc'", "UTF-8\n/home/debian\n[0]"),
        ("date +%Z; cat /sys/devices/system/clocksource/clocksource0/current_clocksource >/dev/null", "UTC\n[0]"),
        ("systemctl is-active systemd-timesyncd systemd-journald fstrim.timer", "active\nactive\nactive\n[0]"),
        ("systemctl is-enabled apt-daily.timer", "disabled\n[1]"),
        ("journalctl --header | grep -c /var/log/journal | grep -vx 0 >/dev/null && ls /run/log/journal", "[0]"),
        ("systemctl show -p Result --value systemd-journal-flush", "success\n[0]"),
        ("cat /etc/hostname /etc/resolv.conf", "web\nnameserver 10.213.0.3\n[0]"),
        ("ls /etc/ssh /var/lib/apt/lists /var/log/apt 2>/dev/null | grep -v -e : -e ^partial -e '^$'", "[1]"),
        ("ls /sys/class/net", "eth0\nlo\n[0]"),
    ] {
        assert_eq!(host.run(&["sh", "-c", words]).await, wanted, "{words}");
    }
    // The root disk is twice the image; the agent has grown the file system to it.
    let grown = host.run(&["sh", "-c", "df --output=size -BM / | tail -n 1 | tr -dc 0-9"]).await;
    let size: u64 = grown.trim_end_matches("[0]").parse().unwrap();
    assert!(size > 1900, "{size} MiB of root file system on a disk of 2 GiB");
    // Its apt asks Debian's own mirrors, and works as far as there is a way to them.
    let asks = host.run(&["cat", "/etc/apt/sources.list"]).await;
    assert!(asks.contains("deb.debian.org") && asks.contains("security.debian.org"), "{asks}");
    let apt = "sudo -n timeout 90 apt-get -q update && sudo -n timeout 90 apt-get -q install -y --no-install-recommends tree && tree --version";
    let said = host.run(&["runuser", "-u", "debian", "--", "sh", "-c", apt]).await;
    if said.ends_with("[0]") {
        eprintln!("its user installs packages: {}", said.lines().last().unwrap());
    } else {
        eprintln!("SKIP {NAME}: apt in the guest has no way to a mirror: {said}");
    }
    // The power button is heard: the guest goes by itself, long before its grace is over.
    let asked = CallCx::new("stop", Duration::from_secs(100));
    host.hypervisor.ensure_absent(&asked, host.id, &StopHow::Graceful { grace_ms: 90_000 }).await.unwrap();
    eprintln!("{:?} of the deadline were left", asked.left());
    assert!(asked.left() > Duration::from_secs(10), "it did not hear the button");
    host.guests.ensure_absent(&cx(), host.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: asks Debian's mirror for a hundred packages, twice"]
async fn the_same_debian_becomes_the_same_image_whenever_it_is_built() {
    const NAME: &str = "the_same_debian_becomes_the_same_image_whenever_it_is_built";
    let Some(lab) = Lab::find(NAME) else { return };
    let folder = lab::folder("twice");
    let host = Host::open(&lab, folder.path()).await;
    let build = host.build(&lab, DEBIAN, ByteSize::gib(1));
    // The beginning of 2026: whatever the mirror has is newer, or as old as it is.
    let which = DebianConfig { newest: Some(1_767_225_600), ..DebianConfig::default() };
    let mut made = Vec::new();
    for _ in 0..2 {
        let bundle = build_debian(&build, &which, &|_| ()).await.unwrap_or_else(|error| panic!("{}", error.chain()));
        std::fs::remove_dir_all(&build.work_dir).unwrap();
        made.push(bundle.id);
    }
    assert_eq!(made[0], made[1]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: asks Debian's mirror for a kernel and an init, and boots them"]
async fn an_image_with_a_kernel_and_an_init_of_its_own_has_the_agent_as_a_service() {
    const NAME: &str = "an_image_with_a_kernel_and_an_init_of_its_own_has_the_agent_as_a_service";
    let Some(lab) = Lab::find(NAME) else { return };
    let Some(mmdebstrap) = lab.tools().mmdebstrap else {
        eprintln!("SKIP {NAME}: no mmdebstrap here: apt-get install mmdebstrap");
        return;
    };
    let folder = lab::folder("own");
    let _leftovers = lab::Leftovers(folder.path().to_owned());
    let host = Host::open(&lab, folder.path()).await;
    // What somebody else made: a Debian with its own kernel, whose disks are named as on their machine.
    let source = folder.path().join("theirs.tar");
    let packages = "systemd-sysv,udev,dbus,kmod,iproute2,procps,linux-image-cloud-amd64,initramfs-tools,zstd";
    #[expect(clippy::disallowed_methods, reason = "somebody else's way to an image")]
    let made = std::process::Command::new(mmdebstrap)
        .args(["--quiet", "--variant=minbase", &format!("--include={packages}")])
        .arg("--customize-hook=echo UUID=0-0 / ext4 defaults 0 1 >$1/etc/fstab")
        .args(["bookworm".as_ref(), source.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let build = host.build(&lab, "own", ByteSize::mib(1536));
    let config = BakeConfig { source: source.clone(), build };
    let bundle =
        bake_agent(&config, &|progress| eprintln!("{}/{} {}", progress.number, progress.of, progress.step)).await;
    let bundle = bundle.unwrap_or_else(|error| panic!("{}", error.chain()));
    std::fs::remove_file(source).unwrap();
    let image = host.take_in(&bundle, &config.build.work_dir).await;

    let mut vm = host.config(&image, 1).await;
    vm.memory = ByteSize::mib(768);
    let ready = host.boot(&vm).await;
    eprintln!("{ready:?}");
    assert!(ready.root.contains("/dev/vda"), "{ready:?}");
    let wait = "until [ -S /run/systemd/private ]; do sleep 0.2; done; systemctl is-system-running --wait";
    let state = host.run(&["sh", "-c", wait]).await;
    assert!(state.starts_with("running\n"), "{state}{}", host.run(&["systemctl", "--failed", "--no-pager"]).await);
    for (words, wanted) in [
        // Its own kernel with its own modules, and its own init; the agent is a service of that.
        ("readlink /proc/1/exe; test -d /lib/modules/$(uname -r)", "/usr/lib/systemd/systemd\n[0]"),
        ("systemctl show -p ActiveState -p NRestarts minions-agent", "NRestarts=0\nActiveState=active\n[0]"),
        (
            "ps -o args= -p $(systemctl show -p MainPID --value minions-agent)",
            "/usr/local/sbin/minions-agent service\n[0]",
        ),
        // It has proven itself with a secret that nobody else finds.
        ("ls /dev/minions /minions; stat -c %a /run/minions /run/minions/secret", "700\n600\n[0]"),
        ("grep -c 5a5a /proc/cmdline", "0\n[1]"),
        // It has joined the machine to its host: name, network, resolvers, data disk.
        ("hostname; cat /etc/hostname /etc/resolv.conf", "web\nweb\nnameserver 10.213.0.3\n[0]"),
        ("ip -o -4 addr show scope global | grep -c 10.213.0.20/16; ip route | grep -c 'via 10.213.0.2'", "1\n1\n[0]"),
        ("grep -c '^/dev/vdb /data ext4 rw' /proc/mounts; cat /proc/swaps | wc -l", "1\n1\n[0]"),
        ("tail -c 33 /etc/machine-id | wc -c", "33\n[0]"),
    ] {
        let said = host.run(&["sh", "-c", words]).await;
        let said: String = said.lines().filter(|line| !line.starts_with("ls: ")).collect::<Vec<_>>().join("\n");
        assert_eq!(said, wanted.trim_end(), "{words}");
    }
    let grown = host.run(&["sh", "-c", "df --output=size -BM / | tail -n 1 | tr -dc 0-9"]).await;
    let size: u64 = grown.trim_end_matches("[0]").parse().unwrap();
    assert!(size > 2800, "{size} MiB of root file system on a disk of 3 GiB");
    // An agent that dies is started again, and so is the service, with the same proof.
    host.run(&["sh", "-c", "echo kept > /data/note; sync"]).await;
    for end in ["kill -9 $(pgrep -f '^minions-agent serve')", "systemctl restart minions-agent"] {
        // Whoever is asked may be gone before it has answered.
        let _ = host.try_run(&["sh", "-c", end]).await;
        let until = CallCx::new("back", Duration::from_secs(60));
        let said = loop {
            match host.try_run(&["cat", "/data/note"]).await {
                Ok(said) => break said,
                Err(error) => assert!(!until.left().is_zero(), "{end}: {}", error.chain()),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(said, "kept\n[0]", "{end}");
    }
    // It goes by its own init when it is asked to.
    let asked = CallCx::new("stop", Duration::from_secs(100));
    host.hypervisor.ensure_absent(&asked, host.id, &StopHow::Graceful { grace_ms: 90_000 }).await.unwrap();
    eprintln!("{:?} of the deadline were left", asked.left());
    assert!(asked.left() > Duration::from_secs(10), "it did not hear the button");
    host.guests.ensure_absent(&cx(), host.id).await.unwrap();
}

/// What is no folder, below a folder.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}
