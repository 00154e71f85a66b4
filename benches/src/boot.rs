//! Row 5: a real guest in emulation, our process 1 against a script for busybox that does the same.
//!
//! Both boot the same kernel with the same modules, the same bytes in the initrd and the same root disk, whose init says
//! on the console that it runs. Ours says so to the host over VSOCK besides, when its agent is there.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use minions_core::host::{cpio, inotify, lookup};
use minions_core::image::{BuildConfig, ImageTools, ImportConfig, import};
use minions_core::types::{ByteSize, ImageBundle, ImageDefaults};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};

use crate::Result;
use crate::measure::median;
use crate::report::{Figure, Goal, short};
use crate::suite::{Run, folder};

/// What process 1 of ours does, in the words of busybox.
const SCRIPT: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
for module in /lib/modules-minions/*; do $b insmod $module; done
while [ ! -b /dev/vda ]; do $b sleep 0.01; done
$b mkdir -p /newroot
$b mount -t ext4 /dev/vda /newroot
$b ip addr add 10.213.0.20/16 dev eth0
$b ip link set eth0 up
$b ip link set lo up
$b ip route add default via 10.213.0.2
$b hostname bench
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs tmpfs /dev/shm
$b mount -t tmpfs tmpfs /newroot/run
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b mkdir -p /newroot/dev /newroot/proc /newroot/sys
$b mount --move /dev /newroot/dev
$b mount --move /proc /newroot/proc
$b mount --move /sys /newroot/sys
exec $b switch_root /newroot /sbin/init
";

/// The init of the root disk.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox echo \"BENCH-INIT $(/bin/busybox cat /proc/uptime)\" > /dev/console
while :; do /bin/busybox sleep 1000; done
";

const CMDLINE: &str = "console=ttyS0 quiet reboot=t panic=-1 minions.rootfs=ext4 minions.host=bench minions.root=/dev/vda \
                       minions.ip=10.213.0.20/16 minions.gw=10.213.0.2 minions.dns=10.213.0.3";

/// Programs for real guests, as the tests find them.
struct Lab {
    dir: PathBuf,
    qemu: PathBuf,
    busybox: PathBuf,
}

impl Lab {
    fn find() -> std::result::Result<Self, String> {
        let dir = std::env::var_os("MINIONS_LAB").ok_or("MINIONS_LAB names no folder with programs for real guests")?;
        let dir = PathBuf::from(dir);
        let qemu = lookup::find("qemu-system-x86_64").ok_or("no QEMU: apt-get install qemu-system-x86")?;
        let busybox = lookup::find("busybox").ok_or("no busybox: apt-get install busybox-static")?;
        for name in ["bin/vhost-device-vsock", "bin/minions-agent"] {
            if !dir.join(name).is_file() {
                return Err(format!("no {}", dir.join(name).display()));
            }
        }
        Ok(Self { dir, qemu, busybox })
    }
}

async fn images(lab: &Lab, dir: &Path) -> Result<(ImageBundle, PathBuf, PathBuf)> {
    let busybox = std::fs::read(&lab.busybox)?;
    let tree = dir.join("tree");
    for name in ["bin", "sbin", "dev", "proc", "sys", "run"] {
        std::fs::create_dir_all(tree.join(name))?;
    }
    for (name, bytes) in [("bin/busybox", busybox.as_slice()), ("sbin/init", INIT.as_bytes())] {
        std::fs::write(tree.join(name), bytes)?;
        std::fs::set_permissions(tree.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let root = dir.join("root");
    std::fs::File::create(&root)?.set_len(32 << 20)?;
    let mkfs = lookup::find("mkfs.ext4").unwrap_or_else(|| "/sbin/mkfs.ext4".into());
    let made = Command::new(mkfs).arg("-q").arg("-d").arg(&tree).arg(&root).stdin(Stdio::null()).status().await?;
    if !made.success() {
        return Err("mkfs.ext4 failed".into());
    }
    let build = BuildConfig {
        name: "bench".to_owned(),
        work_dir: dir.join("w"),
        agent: lab.dir.join("bin/minions-agent"),
        kernel: None,
        kernel_cache: lab.dir.join("kernel"),
        root_size: ByteSize::mib(32),
        tools: ImageTools::find(),
        mirror: None,
        defaults: ImageDefaults::default(),
    };
    let bundle = import(&ImportConfig { root, build }, &|_| {}).await?;
    // Archives behind the first one add to it and replace what it has. Both unpack the same bytes.
    let both = |init: Option<&str>| -> Result<Vec<u8>> {
        let mut bytes = std::fs::read(&bundle.boot.initrd)?;
        bytes.extend(cpio::gap(u64::try_from(bytes.len()).unwrap_or(0)));
        let mut more = cpio::Archive::new();
        more.dir("minions", 0o700);
        more.file("minions/secret", 0o600, "5a".repeat(32).as_bytes());
        more.dir("bin", 0o755);
        more.file("bin/busybox", 0o755, &busybox);
        if let Some(init) = init {
            more.file("init", 0o755, init.as_bytes());
        }
        bytes.extend(more.finish());
        Ok(bytes)
    };
    let (ours, theirs) = (dir.join("initrd-ours"), dir.join("initrd-busybox"));
    std::fs::write(&ours, both(None)?)?;
    std::fs::write(&theirs, both(Some(SCRIPT))?)?;
    Ok((bundle, ours, theirs))
}

/// The helper that is the guest's VSOCK device, and the monitor's connection to it.
async fn helper(lab: &Lab, dir: &Path) -> Result<(Child, OwnedFd)> {
    let vm = format!("guest-cid=3,socket={0}/device,uds-path={0}/vsock", dir.display());
    let child = Command::new(lab.dir.join("bin/vhost-device-vsock"))
        .args(["--vm", &vm])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let device = dir.join("device");
    let connected = inotify::connect_when_there(&device);
    let stream = tokio::time::timeout(Duration::from_secs(10), connected).await??.into_std()?;
    stream.set_nonblocking(false)?;
    Ok((child, stream.into()))
}

/// Milliseconds from the start of the monitor to the init's line, to the agent's report, and the guest's own time at
/// that line.
async fn boot(lab: &Lab, dir: &Path, bundle: &ImageBundle, initrd: &Path, agent: bool) -> Result<(f64, f64, f64)> {
    for name in ["device", "vsock", "vsock_1024"] {
        // Left by the boot before.
        let _ = std::fs::remove_file(dir.join(name));
    }
    std::fs::copy(&bundle.root, dir.join("disk"))?;
    let ready = UnixListener::bind(dir.join("vsock_1024"))?;
    let (_helper, device) = helper(lab, dir).await?;
    let begin = Instant::now();
    let mut monitor = Command::new(&lab.qemu)
        .args(["-machine", "q35,memory-backend=mem0,usb=off,sata=off,smbus=off,graphics=off,hpet=off"])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "256M"])
        .args(["-object", "memory-backend-memfd,id=mem0,size=256M,share=on"])
        .args(["-blockdev", &format!("driver=raw,node-name=d0,file.driver=file,file.filename={}/disk", dir.display())])
        .args(["-device", "virtio-blk-pci,drive=d0"])
        .args(["-chardev", "socket,id=vsock0,fd=0", "-chardev", "file,id=console,path=/dev/fd/1"])
        .args(["-device", "vhost-user-vsock-pci,chardev=vsock0"])
        .args(["-netdev", "user,id=n0,ipv6=off,net=10.213.0.0/16,host=10.213.0.2"])
        .args(["-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "chardev:console"])
        .arg("-kernel")
        .arg(&bundle.boot.kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", CMDLINE])
        .stdin(Stdio::from(device))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(monitor.stdout.take().ok_or("no console")?).lines();
    let (mut init, mut reported, mut uptime) = (None, None, 0.0);
    let mut console = Vec::new();
    let limit = tokio::time::sleep(Duration::from_secs(60));
    tokio::pin!(limit);
    while init.is_none() || agent && reported.is_none() {
        tokio::select! {
            line = lines.next_line() => {
                let line = line?.ok_or_else(|| format!("the guest ended: {}", console.join(" | ")))?;
                if let Some((_, at)) = line.split_once("BENCH-INIT ") {
                    init = Some(begin.elapsed().as_secs_f64() * 1e3);
                    uptime = at.split(' ').next().unwrap_or_default().parse::<f64>()? * 1e3;
                }
                console.push(line);
            }
            accepted = ready.accept(), if reported.is_none() => {
                accepted?;
                reported = Some(begin.elapsed().as_secs_f64() * 1e3);
            }
            () = &mut limit => return Err(format!("no guest within 60 s: {}", console.join(" | ")).into()),
        }
    }
    monitor.kill().await?;
    Ok((init.unwrap_or(f64::NAN), reported.unwrap_or(f64::NAN), uptime))
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let what = "boot in emulation: our process 1 against a busybox script, until the image's init runs";
    let lab = match Lab::find() {
        Ok(lab) => lab,
        Err(why) => return Ok(vec![Figure::not_run("5", what, why)]),
    };
    let folder = folder()?;
    let dir = folder.path();
    let (bundle, ours, theirs) = images(&lab, dir).await?;
    let (mut a, mut b, mut agent, mut up_a, mut up_b) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    boot(&lab, dir, &bundle, &theirs, false).await?;
    for _ in 0..run.pick(4, 10) {
        let (init, reported, uptime) = boot(&lab, dir, &bundle, &ours, true).await?;
        a.push(init);
        agent.push(reported);
        up_a.push(uptime);
        let (init, _, uptime) = boot(&lab, dir, &bundle, &theirs, false).await?;
        b.push(init);
        up_b.push(uptime);
    }
    let (ours, busybox, agent) = (median(&mut a), median(&mut b), median(&mut agent));
    Ok(vec![
        Figure::new("5", what, ours / busybox, "x", Goal::AtMost(1.05)).note(format!(
            "{} ms against {} ms from the start of QEMU (guest's own clock: {} and {} ms)",
            short(ours),
            short(busybox),
            short(median(&mut up_a)),
            short(median(&mut up_b))
        )),
        Figure::new(
            "5",
            "the same until our agent has reported to the host over VSOCK",
            agent / busybox,
            "x",
            Goal::None,
        )
        .note(format!("{} ms; the image's own init starts beside it", short(agent))),
    ])
}
