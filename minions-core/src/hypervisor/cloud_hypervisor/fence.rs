//! What a monitor is fenced in by on this host, and what it needs behind its fences.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, chmod, chownat};

use super::places::Places;
use crate::host::files;
use crate::host::jail::{Bounds, Group, Limiter, Means, Plan, View};
use crate::hypervisor::VmmConfig;
use crate::types::{NicBackend, names};

/// Where a program finds the libraries that it is linked with, on the hosts that we know.
const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];

/// The devices that a monitor opens.
const DEVICES: [&str; 4] = ["/dev/kvm", "/dev/net/tun", "/dev/urandom", "/dev/null"];

/// Files that a monitor may have open: a thousand connections of its guest, its disks and itself.
const OPEN_FILES: u64 = 4096;

/// The fences of one monitor.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    plan: Plan,
    bounds: Bounds,
    limiter: Limiter,
}

/// What a path is on the host.
fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device())
}

impl Fence {
    pub fn of(config: &VmmConfig, places: &Places, program: &Path, means: &Means) -> Self {
        let bounds = Bounds::of(config.vcpus, config.memory);
        let group = match &means.limiter {
            Limiter::Groups(root) => Some(Group::of(root, config.id).path().to_owned()),
            Limiter::Systemd(_) | Limiter::Nobody => None,
        };
        let walls = means.walls && config.uid != 0;
        let view = walls.then(|| view(config, places, program, is_device));
        let user = walls.then_some(config.uid);
        Self { plan: Plan { group, view, user, open_files: OPEN_FILES }, bounds, limiter: means.limiter.clone() }
    }

    /// The program to start and its words. `jail` is a program of ours that carries plans out.
    pub fn words(
        &self,
        config: &VmmConfig,
        jail: &Path,
        program: &Path,
        args: Vec<OsString>,
        start: u64,
    ) -> (PathBuf, Vec<OsString>) {
        let words = self.plan.words(program, args);
        match &self.limiter {
            Limiter::Systemd(systemd) => {
                let mut scope = self.bounds.scope(config.id, start);
                scope.push(jail.into());
                scope.extend(words);
                (systemd.clone(), scope)
            }
            Limiter::Groups(_) | Limiter::Nobody => (jail.to_owned(), words),
        }
    }

    /// Makes the folder of a VM, what is in it, and the VM's own files such that the monitor can use them, and only it.
    pub fn prepare(&self, config: &VmmConfig, places: &Places) -> io::Result<()> {
        if let (Limiter::Groups(root), Some(_)) = (&self.limiter, &self.plan.group) {
            Group::of(root, config.id).ensure(&self.bounds)?;
        }
        let (Some(user), Some(view)) = (self.plan.user, &self.plan.view) else { return Ok(()) };
        files::make_dir(&view.at)?;
        // In its folder it may make files, and remove its own: not ours. What is made there belongs to its group.
        give(places.dir(), None, user)?;
        chmod(places.dir(), Mode::from_raw_mode(0o3770))?;
        for name in files::names(places.dir())?.iter().filter(|name| names::is_vsock_port(name)) {
            give(&places.dir().join(name), None, user)?;
        }
        for disk in config.disks.iter().map(|disk| &disk.path).filter(|path| path.exists() && !is_device(path)) {
            give(disk, Some(user), user)?;
            chmod(disk, Mode::RUSR | Mode::WUSR)?;
        }
        // A kernel is no secret, and its folder stays closed.
        let mode = std::fs::metadata(&config.boot.kernel)?.permissions().mode();
        if mode & 0o004 == 0 {
            chmod(&config.boot.kernel, Mode::from_raw_mode(mode & 0o777 | 0o444))?;
        }
        Ok(())
    }

    /// The initrd, with the secret in it, is for the monitor alone.
    pub fn hand_over(&self, initrd: &Path) -> io::Result<()> {
        let Some(user) = self.plan.user else { return Ok(()) };
        give(initrd, Some(user), user)
    }

    /// Whether a live monitor has all of its disks before its eyes: one that was started before they were made has not. Nor
    /// has one that sees a device whose number has passed to another disk since.
    pub fn sees(&self, pid: u32, config: &VmmConfig) -> bool {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let there = |path: &Path| {
            let inside = root.join(path.strip_prefix("/").unwrap_or(path));
            let (Ok(seen), Ok(disk)) = (std::fs::symlink_metadata(inside), std::fs::metadata(path)) else {
                return false;
            };
            match is_device(path) {
                true => seen.file_type().is_block_device() && seen.rdev() == disk.rdev(),
                false => (seen.dev(), seen.ino()) == (disk.dev(), disk.ino()),
            }
        };
        self.plan.view.is_none() || config.disks.iter().all(|disk| there(&disk.path))
    }
}

/// Nothing of a control group of ours is left.
pub(super) fn clear(means: &Means, id: crate::types::VmId) -> io::Result<()> {
    match &means.limiter {
        Limiter::Groups(root) => Group::of(root, id).absent(),
        Limiter::Systemd(_) | Limiter::Nobody => Ok(()),
    }
}

/// The paths of the host that one monitor sees.
fn view(config: &VmmConfig, places: &Places, program: &Path, is_device: impl Fn(&Path) -> bool) -> View {
    let (devices, disks): (Vec<_>, Vec<_>) =
        config.disks.iter().map(|disk| disk.path.clone()).partition(|path| is_device(path));
    let mut read: Vec<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    read.extend([program.to_owned(), config.boot.kernel.clone()]);
    let write = [places.dir().to_owned()].into_iter().chain(disks).collect();
    let tap = matches!(config.nic.as_ref().map(|nic| &nic.backend), Some(NicBackend::Tap(_)));
    let needed = DEVICES.iter().filter(|device| tap || **device != "/dev/net/tun");
    let devices = needed.map(PathBuf::from).chain(devices).collect();
    View { at: places.view(), read, write, devices }
}

/// Changes owner or group of a file, never of what a symbolic link leads to. Where it is so already, nothing happens.
fn give(path: &Path, user: Option<u32>, group: u32) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    if user.is_none_or(|user| meta.uid() == user) && meta.gid() == group {
        return Ok(());
    }
    let (user, group) = (user.map(Uid::from_raw), Some(Gid::from_raw(group)));
    Ok(chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::cloud_hypervisor::command::tests::config;

    fn means(walls: bool, limiter: Limiter) -> Means {
        Means { walls, landlock: 3, limiter }
    }

    fn text(words: (PathBuf, Vec<OsString>)) -> String {
        let (program, words) = words;
        let words: Vec<_> = words.into_iter().map(|word| word.into_string().unwrap()).collect();
        format!("{} {}", program.display(), words.join(" "))
    }

    fn start(means: &Means) -> String {
        let config = config();
        let (places, program) = (Places::new(Path::new("/r"), config.id), Path::new("/bin/ch"));
        let fence = Fence::of(&config, &places, program, means);
        text(fence.words(&config, Path::new("/bin/minions"), program, vec!["--seccomp".into(), "true".into()], 3))
    }

    #[test]
    fn ctl_1_1_a_host_with_all_means_starts_a_monitor_behind_these_fences() {
        let dir = "/r/vm_00000000000000000000000001";
        let view = format!(
            r#"{{"view":{{"at":"{dir}/view","read":["/lib","/lib64","/usr/lib","/usr/lib64","/usr/local/lib","/etc/ld.so.cache","/bin/ch","/i/kernel"],"write":["{dir}","/d/root","/d/data"],"devices":["/dev/kvm","/dev/net/tun","/dev/urandom","/dev/null"]}},"user":200000,"open_files":4096}}"#
        );
        let scope = "--scope --quiet --collect --slice=minions --unit=minions-vm-vm_00000000000000000000000001-3 \
            -p MemoryMax=411041792 -p MemorySwapMax=0 -p TasksMax=72 -p CPUQuota=300% --";
        let systemd = means(true, Limiter::Systemd(PathBuf::from("/usr/bin/systemd-run")));
        let want = format!("/usr/bin/systemd-run {scope} /bin/minions jail {view} -- /bin/ch --seccomp true");
        assert_eq!(start(&systemd), want);
        let group = view.replacen('{', r#"{"group":"/g/minions/vm_00000000000000000000000001","#, 1);
        let ours = means(true, Limiter::Groups(PathBuf::from("/g")));
        assert_eq!(start(&ours), format!("/bin/minions jail {group} -- /bin/ch --seccomp true"));
    }

    #[test]
    fn a_host_without_means_starts_a_monitor_that_at_least_gains_no_rights() {
        let want = r#"/bin/minions jail {"open_files":4096} -- /bin/ch --seccomp true"#;
        assert_eq!(start(&means(false, Limiter::Nobody)), want);
    }

    #[test]
    fn a_disk_that_is_a_device_becomes_a_node_of_its_own_and_is_no_file_of_the_view() {
        let config = config();
        let places = Places::new(Path::new("/r"), config.id);
        let view = view(&config, &places, Path::new("/bin/ch"), |path| path.ends_with("root"));
        assert_eq!(view.write, [places.dir().to_owned(), PathBuf::from("/d/data")]);
        assert!(view.devices.contains(&PathBuf::from("/d/root")));
    }
}
