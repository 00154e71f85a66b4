//! Images that boot with a kernel, an initrd and an init of their own: our agent becomes a service in them.
//!
//! The host never mounts what others made: a folder or a tar archive is copied, changed as a tree of files, and written as a
//! fresh file system. Kernel and initrd are taken out of its `/boot`. Behind the initrd comes the agent once more, as
//! `/minions/agent`: the kernel starts it first, it leaves the VM's secret for the service, and lets the initrd go on.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ImageError;
use super::modules::is_static_program;
use super::tools::{ImageTools, needed};
use super::tree::{Kind, Tree};
use crate::host::command::Tool;
use crate::host::{cpio, files};

/// Where the agent lies in such an image.
const AGENT: &str = "usr/local/sbin/minions-agent";

/// What the kernel's line says: our program first, then the initrd's own; the root is our first disk.
pub(super) const CMDLINE: &str = "rdinit=/minions/agent minions.next=/init root=/dev/vda rootfstype=ext4 rw";

/// Started by systemd before anything that needs network or data, and ended by nobody before the power goes.
const UNIT: &str = "\
[Unit]
Description=Agent of this VM's host (minions)
DefaultDependencies=no
After=systemd-remount-fs.service systemd-modules-load.service
Wants=network-pre.target systemd-modules-load.service
Before=network-pre.target sysinit.target
ConditionPathExists=|/dev/minions/secret
ConditionPathExists=|/run/minions/secret

[Service]
Type=notify
ExecStart=/usr/local/sbin/minions-agent service
Restart=always
RestartSec=1
KillMode=process
OOMScoreAdjust=-1000
OOMPolicy=continue
TasksMax=infinity
TimeoutStartSec=60
";

const OPENRC: &str = "\
#!/sbin/openrc-run
description=\"Agent of this VM's host (minions)\"
command=/usr/local/sbin/minions-agent
command_args=service
command_background=yes
pidfile=/run/minions-agent.pid

depend() {
	after modules root
	before net
}

start_pre() {
	modprobe -q vmw_vsock_virtio_transport || true
}
";

/// What starts services in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Init {
    Systemd,
    OpenRc,
    /// With `id:levels:action:program`.
    SysV,
    /// With `tty::action:program`.
    Busybox,
}

/// A copy of somebody's root in a folder of ours.
pub(super) async fn copy(source: &Path, tree: &Path, tools: &ImageTools) -> Result<(), ImageError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ImageError::NotRoot);
    }
    let refuse = |why| ImageError::Source { what: "source", path: source.to_owned(), why };
    let meta = std::fs::symlink_metadata(source).map_err(ImageError::io("read", source))?;
    files::dir_absent(tree).map_err(ImageError::io("remove", tree))?;
    let made = files::make_dir(tree)
        .and_then(|()| std::fs::set_permissions(tree, std::os::unix::fs::PermissionsExt::from_mode(0o755)));
    made.map_err(ImageError::io("make", tree))?;
    let tool = if meta.is_dir() {
        let cp = needed(tools.cp.as_ref(), "cp", "apt-get install coreutils")?;
        Tool::new(cp).args(["-a", "--reflink=auto", "--one-file-system", "--"]).arg(source.join(".")).arg(tree)
    } else if meta.is_file() {
        if is_ext4_magic(source)? {
            return Err(refuse(
                "is a raw file system, which this host does not open; boot it as it is: minions image import",
            ));
        }
        let tar = needed(tools.tar.as_ref(), "tar", "apt-get install tar")?;
        // Names that leave the folder are refused by tar itself, links out of it are made last.
        Tool::new(tar)
            .args(["-x", "-p", "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=security.capability"])
            .args(["--exclude=./dev/*", "--exclude=dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "-C"])
            .arg(tree)
            .arg("-f")
            .arg(source)
    } else {
        return Err(refuse("is neither a folder nor a tar archive"));
    };
    tool.limit(Duration::from_mins(20)).run().await?;
    Ok(())
}

fn is_ext4_magic(file: &Path) -> Result<bool, ImageError> {
    let mut found = [0; 2];
    let file_read = files::open_read(file).map_err(ImageError::io("read", file))?.read_exact_at(&mut found, 1024 + 56);
    Ok(file_read.is_ok() && found == [0x53, 0xef])
}

/// What an image starts with.
pub(super) struct Boot {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// Puts the agent in, and takes kernel and initrd out.
pub(super) fn bake(path: &Path, agent: &Path, work: &Path) -> Result<Boot, ImageError> {
    let tree = Tree::open(path)?;
    if tree.kind("etc")?.is_none() || tree.kind("usr")?.is_none() {
        let why = "holds no root of a Linux: it has no etc and usr at its top";
        return Err(ImageError::Source { what: "source", path: path.to_owned(), why });
    }
    let bytes = std::fs::read(agent).map_err(ImageError::io("read", agent))?;
    if !is_static_program(&bytes) {
        return Err(ImageError::NotStatic { what: "agent", path: agent.to_owned() });
    }
    let init = init_of(&tree)?.ok_or(ImageError::NoInit)?;
    let (kernel, initrd) = newest(&tree)?.ok_or(ImageError::NoBoot)?;
    install(&tree, init, &bytes)?;
    settle(&tree)?;
    let boot = Boot { kernel: work.join("kernel"), initrd: work.join("initrd") };
    take_out(&tree, &kernel, &boot.kernel)?;
    take_out(&tree, &initrd, &boot.initrd)?;
    append(&boot.initrd, &bytes).map_err(ImageError::io("write", &boot.initrd))?;
    Ok(boot)
}

fn init_of(tree: &Tree) -> Result<Option<Init>, ImageError> {
    let has = |name: &str| Ok::<_, ImageError>(tree.file(name)?.is_some());
    if has("usr/lib/systemd/systemd")? || has("lib/systemd/systemd")? {
        return Ok(Some(Init::Systemd));
    }
    if has("sbin/openrc-run")? || has("usr/sbin/openrc-run")? {
        return Ok(Some(Init::OpenRc));
    }
    let sysv = |text: &str| text.lines().any(|line| !line.starts_with('#') && line.contains(":initdefault:"));
    Ok(tree.text("etc/inittab")?.map(|text| if sysv(&text) { Init::SysV } else { Init::Busybox }))
}

fn install(tree: &Tree, init: Init, agent: &[u8]) -> Result<(), ImageError> {
    tree.dir("usr/local/sbin", 0o755)?;
    tree.put(AGENT, agent, 0o755)?;
    tree.dir("data", 0o755)?;
    match init {
        Init::Systemd => {
            tree.dir("etc/systemd/system/sysinit.target.wants", 0o755)?;
            tree.put("etc/systemd/system/minions-agent.service", UNIT, 0o644)?;
            let wants = "etc/systemd/system/sysinit.target.wants/minions-agent.service";
            tree.link(wants, "/etc/systemd/system/minions-agent.service")?;
            tree.dir("etc/modules-load.d", 0o755)?;
            tree.put("etc/modules-load.d/minions.conf", "vmw_vsock_virtio_transport\n", 0o644)
        }
        Init::OpenRc => {
            tree.dir("etc/init.d", 0o755)?;
            tree.put("etc/init.d/minions-agent", OPENRC, 0o755)?;
            tree.dir("etc/runlevels/boot", 0o755)?;
            tree.link("etc/runlevels/boot/minions-agent", "/etc/init.d/minions-agent")
        }
        Init::SysV | Init::Busybox => {
            let old = tree.text("etc/inittab")?.unwrap_or_default();
            let kept: String =
                old.lines().filter(|line| !line.contains(AGENT)).map(|line| format!("{line}\n")).collect();
            let place = if init == Init::SysV { "mn:2345:respawn:" } else { "::respawn:" };
            tree.put("etc/inittab", format!("{kept}{place}/{AGENT} service\n"), 0o644)
        }
    }
}

/// What another machine, or the machine that it was made on, has left.
fn settle(tree: &Tree) -> Result<(), ImageError> {
    if tree.kind("etc/machine-id")?.is_some() {
        tree.put("etc/machine-id", "", 0o444)?;
    }
    for name in ["var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret"] {
        // A link to the other one is no machine's.
        if tree.kind(name)? == Some(Kind::File) {
            tree.absent(name)?;
        }
    }
    // Disks that this machine does not have: an init would wait for them, and then for a person.
    if let Some(old) = tree.text("etc/fstab")? {
        tree.put("etc/fstab", mounts(&old), 0o644)?;
    }
    for name in ["dev", "proc", "sys", "run", "tmp"] {
        tree.emptied(name)?;
        tree.dir(name, if name == "tmp" { 0o1777 } else { 0o755 })?;
    }
    Ok(())
}

/// The lines of an fstab that need no disk; the others as comments.
fn mounts(old: &str) -> String {
    let disk = |line: &str| {
        let what = line.split_ascii_whitespace().next().unwrap_or_default();
        what.starts_with("/dev/") || what.contains('=')
    };
    old.lines()
        .map(|line| if disk(line) { format!("# not in a VM of minions: {line}\n") } else { format!("{line}\n") })
        .collect()
}

/// The newest kernel that has an initrd beside it, and that.
fn newest(tree: &Tree) -> Result<Option<(String, String)>, ImageError> {
    let names = tree.names("boot")?;
    let mut found = Vec::new();
    for name in &names {
        let Some(version) = name.strip_prefix("vmlinuz") else { continue };
        let forms = [
            format!("initrd.img{version}"),
            format!("initramfs{version}.img"),
            format!("initramfs{version}"),
            format!("initrd{version}"),
        ];
        let beside = forms.into_iter().find(|form| names.contains(form));
        if let Some(initrd) = beside
            && tree.file(&format!("boot/{name}"))?.is_some()
            && tree.file(&format!("boot/{initrd}"))?.is_some()
        {
            found.push((format!("boot/{name}"), format!("boot/{initrd}")));
        }
    }
    Ok(found.into_iter().max_by(|one, other| by_version(&one.0, &other.0)))
}

/// `6.10` comes after `6.9`.
fn by_version(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for part in text.split(|letter: char| !letter.is_ascii_alphanumeric()) {
            let digits = part.len() - part.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            parts.push((part[..digits].parse().unwrap_or(0), part[digits..].to_owned()));
        }
        parts
    };
    parts(one).cmp(&parts(other))
}

fn take_out(tree: &Tree, name: &str, to: &Path) -> Result<(), ImageError> {
    let io = ImageError::io("write", to);
    let mut from = tree.file(name)?.ok_or(ImageError::NoBoot)?;
    files::absent(to).map_err(&io)?;
    let mut target: File = files::open_write(to, 0o600).map_err(&io)?;
    io::copy(&mut from, &mut target).map_err(io)?;
    Ok(())
}

/// Puts the agent behind an initrd, where the kernel finds it.
fn append(initrd: &Path, agent: &[u8]) -> io::Result<()> {
    let mut archive = cpio::Archive::new();
    archive.dir("minions", 0o700);
    archive.file("minions/agent", 0o755, agent);
    let mut target = std::fs::OpenOptions::new().append(true).open(initrd)?;
    let length = target.metadata()?.len();
    target.write_all(cpio::gap(length))?;
    target.write_all(&archive.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with what matters here, and a static program beside it.
    fn root(init: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (tree, agent) = (folder.path().join("tree"), folder.path().join("agent"));
        let basic = [
            ("etc/fstab", "# mine\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw\ntmpfs /tmp tmpfs nosuid\n"),
            ("etc/machine-id", "0123\n"),
            ("usr/bin/x", ""),
            ("boot/vmlinuz-6.9.1", "old"),
            ("boot/initrd.img-6.9.1", "old"),
            ("boot/vmlinuz-6.10.0", "kernel"),
            ("boot/initrd.img-6.10.0", "initrd"),
            ("boot/vmlinuz-6.11.0", "without an initrd"),
            ("dev/left", "over"),
        ];
        for (name, text) in basic.iter().chain(init) {
            let path = tree.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(120, 0);
        elf[0x20] = 64;
        elf[0x36] = 56;
        elf[0x38] = 1;
        elf[64] = 1;
        std::fs::write(&agent, elf).unwrap();
        (folder, tree, agent)
    }

    #[test]
    fn the_newest_kernel_that_has_an_initrd_is_taken_and_the_agent_goes_behind_that() {
        let (folder, tree, agent) = root(&[("usr/lib/systemd/systemd", "")]);
        let boot = bake(&tree, &agent, folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&boot.kernel).unwrap(), "kernel");
        let initrd = std::fs::read(&boot.initrd).unwrap();
        assert!(initrd.starts_with(b"initrd\x00\x00070701") && initrd.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&initrd);
        assert!(text.contains("minions/agent\0") && text.contains("TRAILER!!!"));
        assert!(CMDLINE.contains("rdinit=/minions/agent ") && CMDLINE.contains("minions.next=/init "));
        assert_eq!(by_version("6.1.0-56-cloud", "6.1.0-9-cloud"), Ordering::Greater);
    }

    #[test]
    fn every_init_that_is_known_starts_the_agent_once_however_often_it_is_baked() {
        let read = |tree: &Path, name: &str| std::fs::read_to_string(tree.join(name)).unwrap();
        let (folder, tree, agent) = root(&[("usr/lib/systemd/systemd", "")]);
        for _ in 0..2 {
            bake(&tree, &agent, folder.path()).unwrap();
        }
        let wants = "etc/systemd/system/sysinit.target.wants/minions-agent.service";
        assert_eq!(
            std::fs::read_link(tree.join(wants)).unwrap(),
            Path::new("/etc/systemd/system/minions-agent.service")
        );
        assert!(
            read(&tree, "etc/systemd/system/minions-agent.service").contains(&format!("ExecStart=/{AGENT} service"))
        );
        let fstab = read(&tree, "etc/fstab");
        assert!(
            fstab.starts_with("# mine\n# not in a VM of minions: UUID=1")
                && fstab.ends_with("\ntmpfs /tmp tmpfs nosuid\n")
        );
        assert_eq!(fstab.matches("# not in a VM").count(), 2, "{fstab}");
        assert!(
            read(&tree, "etc/machine-id").is_empty() && !tree.join("dev/left").exists() && tree.join("dev").is_dir()
        );

        let (folder, tree, agent) = root(&[("sbin/openrc-run", "")]);
        bake(&tree, &agent, folder.path()).unwrap();
        assert!(read(&tree, "etc/init.d/minions-agent").starts_with("#!/sbin/openrc-run\n"));
        assert!(std::fs::symlink_metadata(tree.join("etc/runlevels/boot/minions-agent")).is_ok());

        for (inittab, wanted) in [
            ("::sysinit:/sbin/rc\n", "::sysinit:/sbin/rc\n::respawn:/usr/local/sbin/minions-agent service\n"),
            ("id:3:initdefault:\n", "id:3:initdefault:\nmn:2345:respawn:/usr/local/sbin/minions-agent service\n"),
        ] {
            let (folder, tree, agent) = root(&[("etc/inittab", inittab)]);
            for _ in 0..2 {
                bake(&tree, &agent, folder.path()).unwrap();
            }
            assert_eq!(read(&tree, "etc/inittab"), wanted);
        }
    }

    #[test]
    fn bad_22_a_root_that_could_not_boot_or_leads_outside_is_refused() {
        let (folder, tree, agent) = root(&[]);
        assert!(matches!(bake(&tree, &agent, folder.path()), Err(ImageError::NoInit)));
        let (folder, tree, agent) = root(&[("etc/inittab", "")]);
        std::fs::remove_dir_all(tree.join("boot")).unwrap();
        assert!(matches!(bake(&tree, &agent, folder.path()), Err(ImageError::NoBoot)));
        // A kernel that is a link to the host's own is none.
        std::fs::create_dir(tree.join("boot")).unwrap();
        let outside = folder.path().join("outside");
        std::fs::write(&outside, "the host's").unwrap();
        for name in ["boot/vmlinuz-1", "boot/initrd.img-1"] {
            std::os::unix::fs::symlink(&outside, tree.join(name)).unwrap();
        }
        assert!(matches!(bake(&tree, &agent, folder.path()), Err(ImageError::NoBoot)));
        std::fs::remove_dir_all(tree.join("etc")).unwrap();
        let empty = bake(&tree, &agent, folder.path()).err().unwrap();
        assert!(matches!(empty, ImageError::Source { .. }), "{empty}");
    }
}
