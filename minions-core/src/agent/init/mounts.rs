//! File systems that are not on disks.

use std::path::Path;

use rustix::mount::{MountFlags, mount};

use crate::agent::error::about;
use crate::error::Result;

/// Where the image's root is mounted until it becomes the root.
pub(super) const NEW_ROOT: &str = "/newroot";

/// Where [`early`] mounts, the last one first.
pub(super) const EARLY: [&str; 3] = ["/dev", "/sys", "/proc"];

/// What the boot itself needs.
pub(super) fn early() -> Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    put("proc", "/proc", "proc", safe, c"")?;
    put("sysfs", "/sys", "sysfs", safe, c"")?;
    put("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755")
}

/// What programs need. An init that finds it mounted leaves it as it is.
pub(super) fn late() -> Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    put("devpts", "/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=620,gid=5,ptmxmode=666")?;
    put("tmpfs", "/dev/shm", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        // There already, or nobody misses it.
        let _ = std::os::unix::fs::symlink(target, Path::new("/dev").join(link));
    }
    put("tmpfs", &format!("{NEW_ROOT}/run"), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")?;
    if Path::new("/sys/fs/cgroup").is_dir() {
        // A kernel without control groups boots too.
        let _ = mount("cgroup2", "/sys/fs/cgroup", "cgroup2", safe, c"");
    }
    Ok(())
}

/// Mounts at a place, which is made where it is missing.
pub(super) fn put(what: &str, at: &str, kind: &str, flags: MountFlags, data: &std::ffi::CStr) -> Result<()> {
    std::fs::create_dir_all(at).map_err(|error| about(at, error))?;
    mount(what, at, kind, flags, data).map_err(|error| about(format_args!("cannot mount {what} at {at}"), error.into()))
}
