//! Ends all that is in the control groups of a VM. A monitor that a guest has taken over can let go of its key, by which it
//! is found; out of its group it cannot get.

use std::io;
use std::path::{Path, PathBuf};

use super::{Group, Limiter};
use crate::host::files;
use crate::host::process::Process;
use crate::types::{VmId, names};

/// Where systemd keeps the groups of its slice of ours.
const SLICE: &str = "/sys/fs/cgroup/minions.slice";

/// The processes in the control groups of a VM.
pub fn members(limiter: &Limiter, id: VmId) -> io::Result<Vec<u32>> {
    let mut members = Vec::new();
    for group in groups(limiter, id)? {
        members.extend(members_of(&group)?);
    }
    Ok(members)
}

/// Ends them, and comes back when there is none any more. Takes as long as the kernel does: the caller bounds it.
pub async fn end(limiter: &Limiter, id: VmId) -> io::Result<()> {
    for group in groups(limiter, id)? {
        end_group(&group).await?;
    }
    Ok(())
}

async fn end_group(group: &Path) -> io::Result<()> {
    loop {
        let members = members_of(group)?;
        if members.is_empty() {
            return Ok(());
        }
        // All at once, and those that they begin meanwhile. Kernels before 5.14 have no such file, and under systemd it may not
        // be written: then one after the other, until nobody is left.
        match std::fs::write(group.join("cgroup.kill"), "1") {
            Err(error)
                if !matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::ENODEV | libc::EACCES | libc::EROFS | libc::EPERM)
                ) =>
            {
                return Err(error);
            }
            _ => {}
        }
        for pid in members {
            let Some(process) = Process::open(pid)? else { continue };
            // The number may have passed to a stranger since: only who is in the group still is meant.
            if members_of(group)?.contains(&pid) {
                process.kill()?;
                process.exited().await?;
            }
        }
    }
}

/// Of this start of the VM, and of those before it.
fn groups(limiter: &Limiter, id: VmId) -> io::Result<Vec<PathBuf>> {
    match limiter {
        Limiter::Nobody => Ok(Vec::new()),
        Limiter::Groups(root) => Ok(vec![Group::of(root, id).path().to_owned()]),
        Limiter::Systemd(_) => {
            let prefix = format!("minions-vm-{}-", names::vm_dir(id));
            let slice = Path::new(SLICE);
            let ours = files::names(slice)?.into_iter().filter(|name| name.starts_with(&prefix));
            Ok(ours.map(|name| slice.join(name)).collect())
        }
    }
}

fn members_of(group: &Path) -> io::Result<Vec<u32>> {
    match std::fs::read_to_string(group.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        // Gone, or going.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::skip;

    /// Where control groups of version 2 are mounted, and can be made.
    fn root() -> Option<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let of =
            |line: &str| (line.split(' ').nth(2)? == "cgroup2").then(|| PathBuf::from(line.split(' ').nth(1).unwrap()));
        let root = mounts.lines().find_map(of)?.join(format!("minions-test-{}", std::process::id()));
        std::fs::create_dir(&root).ok().map(|()| root)
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a stranger, not one of ours")]
    async fn ctl_1_1_a_process_that_holds_no_key_is_ended_with_its_group() {
        let name = "ctl_1_1_a_process_that_holds_no_key_is_ended_with_its_group";
        let Some(root) = root() else { return skip(name, "no control groups of version 2 can be made here") };
        let (id, other) = (VmId::from_bits(1), VmId::from_bits(2));
        let limiter = Limiter::Groups(root.clone());
        end(&limiter, id).await.unwrap();
        let mut children = Vec::new();
        for id in [id, other] {
            let group = Group::of(&root, id).path().to_owned();
            std::fs::create_dir_all(&group).unwrap();
            let child = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
            std::fs::write(group.join("cgroup.procs"), child.id().unwrap().to_string()).unwrap();
            assert_eq!(members(&limiter, id).unwrap(), [child.id().unwrap()]);
            children.push(child);
        }
        end(&limiter, id).await.unwrap();
        assert!(members(&limiter, id).unwrap().is_empty());
        assert!(!children[0].wait().await.unwrap().success());
        assert_eq!(members(&limiter, other).unwrap().len(), 1, "another VM's are left alone");
        end(&limiter, other).await.unwrap();
        children[1].wait().await.unwrap();
        for folder in [Group::of(&root, id), Group::of(&root, other)] {
            folder.absent().unwrap();
        }
        std::fs::remove_dir(root.join("minions")).unwrap();
        std::fs::remove_dir(root).unwrap();
    }
}
