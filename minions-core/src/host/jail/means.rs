//! What a host has to fence a process in with.

use std::path::{Path, PathBuf};

use crate::host::lookup;
use crate::host::preflight::Finding;
use crate::host::process::Process;
use crate::types::Fences;

/// Who limits what a monitor takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// systemd, by this program.
    Systemd(PathBuf),
    /// We ourselves, where control groups are mounted.
    Groups(PathBuf),
    /// Nobody.
    Nobody,
}

/// What a host has, as this process may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Means {
    /// Whether a monitor can become a user of its own, in a view of the file system of its own.
    pub walls: bool,
    /// The version of Landlock; 0 without.
    pub landlock: u32,
    /// Who limits it.
    pub limiter: Limiter,
}

/// Change owners, pass permissions, own files, kill, set groups, set users, set capabilities, look into processes,
/// administer mounts, make devices.
const NEEDED: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 19 | 1 << 21 | 1 << 27;

/// The version of Landlock that Cloud Hypervisor asks for.
const LANDLOCK: u32 = 3;

impl Means {
    /// Looks. Changes nothing.
    #[must_use]
    pub fn of_host() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let has = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        let walls = has.is_some_and(|has| has & NEEDED == NEEDED);
        Self { walls, landlock: landlock(), limiter: limiter(walls) }
    }

    /// Nothing at all: a monitor runs as this process does, but cannot gain rights.
    #[must_use]
    pub fn none() -> Self {
        Self { walls: false, landlock: 0, limiter: Limiter::Nobody }
    }

    /// What remains where no program carries out plans.
    #[must_use]
    pub fn unjailed() -> Self {
        Self { landlock: landlock(), ..Self::none() }
    }

    /// Whether Landlock can do what a monitor asks of it.
    #[must_use]
    pub fn has_landlock(&self) -> bool {
        self.landlock >= LANDLOCK
    }

    /// What `doctor` says of it.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let walls = match self.walls {
            true => Finding::ok("jail", "each monitor runs as a user of its own and sees only its own files"),
            false => Finding::warn(
                "jail",
                "monitors run as this user, and see what it sees, but for what Landlock closes",
                "run the service as root, with the capabilities that its unit gives it",
            ),
        };
        let landlock = match self.landlock {
            0 => Finding::warn("landlock", "this kernel has no Landlock", "boot with landlock among lsm="),
            version if version < LANDLOCK => Finding::warn(
                "landlock",
                format!("Landlock has version {version}, and monitors ask for {LANDLOCK}: they do without"),
                "run Linux 6.2 or later",
            ),
            version => Finding::ok("landlock", format!("version {version}")),
        };
        let limits = match &self.limiter {
            Limiter::Systemd(_) => Finding::ok("limits", "systemd limits what each monitor takes"),
            Limiter::Groups(root) => Finding::ok("limits", format!("control groups in {}", root.display())),
            Limiter::Nobody => Finding::warn(
                "limits",
                "nothing limits the memory and the processor time that a monitor takes",
                "run as root on a host with control groups of version 2",
            ),
        };
        vec![walls, landlock, limits]
    }

    /// The fences of a live monitor, as the kernel tells them. Its first thread only waits for the others: their filters of
    /// system calls count. `landlocked`: whether it says that Landlock is around its files.
    pub fn fences(process: &Process, landlocked: bool) -> std::io::Result<Fences> {
        let pid = process.pid();
        let mount = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt"));
        let walled = match (mount(&pid.to_string()), mount("self")) {
            (Ok(theirs), Ok(ours)) => theirs != ours,
            _ => false,
        };
        Ok(Fences {
            system_calls: filtered(pid),
            files: walled || landlocked,
            resources: super::cgroup::limited(pid),
            ..process.fences()?
        })
    }
}

/// Whether every thread but the first, which waits, has a filter.
fn filtered(pid: u32) -> bool {
    let Ok(tasks) = crate::host::files::names(&PathBuf::from(format!("/proc/{pid}/task"))) else { return false };
    let mut others = tasks.iter().filter(|task| **task != pid.to_string()).peekable();
    others.peek().is_some()
        && others.all(|task| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/task/{task}/status")).unwrap_or_default();
            status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
                // Threads of the kernel's own that help the guest have none, and one may have ended meanwhile.
                || status.is_empty()
                || status.lines().next().is_some_and(|line| line.contains("kvm-"))
        })
}

fn limiter(root: bool) -> Limiter {
    if !root {
        return Limiter::Nobody;
    }
    if Path::new("/run/systemd/system").is_dir()
        && let Some(program) = lookup::find("systemd-run")
    {
        return Limiter::Systemd(program);
    }
    let groups = Path::new("/sys/fs/cgroup");
    let there = std::fs::read_to_string(groups.join("cgroup.controllers")).unwrap_or_default();
    let has = |name: &str| there.split_ascii_whitespace().any(|have| have == name);
    if has("memory") && has("pids") && has("cpu") { Limiter::Groups(groups.to_owned()) } else { Limiter::Nobody }
}

/// The version of Landlock that the kernel has.
#[expect(unsafe_code, reason = "no binding of this question in the tree")]
fn landlock() -> u32 {
    const VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel takes no pointer and makes nothing: it answers with a number.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) };
    u32::try_from(answer).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::preflight::FindingStatus;

    #[test]
    fn bad_28_a_fence_that_a_host_has_no_means_for_is_told() {
        let all = Means { walls: true, landlock: 3, limiter: Limiter::Groups(PathBuf::from("/g")) };
        assert!(all.findings().iter().all(|finding| finding.status == FindingStatus::Ok));
        for finding in Means::none().findings() {
            assert_eq!(finding.status, FindingStatus::Warn, "{finding:?}");
            assert!(finding.fix.is_some());
        }
        let old = Means { landlock: 2, ..all };
        assert!(!old.has_landlock());
        let findings = old.findings();
        assert!(findings.iter().any(|finding| finding.id == "landlock" && finding.message.contains("version 2")));
    }
}
