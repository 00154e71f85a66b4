//! What a host can and cannot do, found out before anything depends on it.

use std::path::Path;

use crate::types::ByteSize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingStatus {
    /// As it should be.
    Ok,
    /// Works, but less well.
    Warn,
    /// Does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// A stable name, such as `qemu`.
    pub id: String,
    /// How bad it is.
    pub status: FindingStatus,
    /// What was seen.
    pub message: String,
    /// The line to type, where one helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(id: &str, message: impl Into<String>) -> Self {
        Self { id: id.to_owned(), status: FindingStatus::Ok, message: message.into(), fix: None }
    }

    /// Works, but less well.
    pub fn warn(id: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { id: id.to_owned(), status: FindingStatus::Warn, message: message.into(), fix: Some(fix.into()) }
    }

    /// Does not work.
    pub fn fail(id: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { id: id.to_owned(), status: FindingStatus::Fail, message: message.into(), fix: Some(fix.into()) }
    }
}

/// The longest path that a UNIX socket can have: the kernel's 108 bytes hold a closing zero too.
pub const MAX_SOCKET_PATH: usize = 107;

/// Whether the sockets of VMs fit below a folder; `longest` is the longest name below it.
#[must_use]
pub fn socket_paths(dir: &Path, longest: usize) -> Finding {
    let need = dir.as_os_str().len() + 1 + longest;
    let message = format!("{} holds sockets with paths of {need} bytes of {MAX_SOCKET_PATH}", dir.display());
    match need <= MAX_SOCKET_PATH {
        true => Finding::ok("socket_paths", message),
        false => Finding::fail("socket_paths", message, "use a shorter --dir"),
    }
}

/// Whether a file that every start needs is there and can be read.
#[must_use]
pub fn file(id: &str, path: &Path, fix: &str) -> Finding {
    let found = super::files::open_read(path).and_then(|file| file.metadata());
    match found {
        Ok(meta) if meta.is_file() && meta.len() > 0 => Finding::ok(id, path.display().to_string()),
        Ok(_) => Finding::fail(id, format!("{} is no file, or empty", path.display()), fix),
        Err(error) => Finding::fail(id, format!("{}: {error}", path.display()), fix),
    }
}

/// How much room is left where a folder lies.
#[must_use]
pub fn disk_space(dir: &Path, least: ByteSize) -> Finding {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let free = ByteSize::bytes(stat.f_bavail.saturating_mul(stat.f_frsize));
            let message = format!("{free} free in {}", dir.display());
            match free >= least {
                true => Finding::ok("disk_space", message),
                false => Finding::warn("disk_space", message, format!("free some: at least {least} are advised")),
            }
        }
        Err(error) => Finding::fail("disk_space", format!("{}: {error}", dir.display()), "make the folder"),
    }
}

/// Whether enough files may be open at a time: each VM and each connection takes a few.
#[must_use]
pub fn open_files(least: u64) -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    judge_files(limit.current, limit.maximum, least)
}

fn judge_files(current: Option<u64>, maximum: Option<u64>, least: u64) -> Finding {
    match current {
        Some(most) if most < least => {
            let message = format!("at most {most} files may be open at a time");
            let fix = format!("ulimit -n {}", maximum.map_or(least, |hard| hard.max(least)));
            Finding::warn("open_files", message, fix)
        }
        Some(most) => Finding::ok("open_files", format!("{most} files may be open at a time")),
        None => Finding::ok("open_files", "any number of files may be open"),
    }
}

/// Whether enough processes may run: each VM takes two, with a thread for each of its processors and some more.
#[must_use]
pub fn processes(least: u64) -> Finding {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    let all = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok().and_then(|text| text.trim().parse().ok());
    judge_processes(all, own, least)
}

fn judge_processes(all: Option<u64>, own: Option<u64>, least: u64) -> Finding {
    let too_few = |most: u64, fix: String| Finding::warn("processes", format!("at most {most} processes may run"), fix);
    match (all, own) {
        (Some(most), _) if most < least => too_few(most, format!("sysctl -w kernel.pid_max={least}")),
        (_, Some(most)) if most < least => too_few(most, format!("ulimit -u {least}")),
        (all, own) => match all.into_iter().chain(own).min() {
            Some(most) => Finding::ok("processes", format!("{most} processes may run")),
            None => Finding::ok("processes", "any number of processes may run"),
        },
    }
}

/// Which boot of the host this is. What was proved about a host holds until the next one.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_28_a_folder_too_long_for_sockets_is_found_before_anything_starts() {
        assert_eq!(socket_paths(Path::new("/srv/minions"), 40).status, FindingStatus::Ok);
        let long = "/x".repeat(40);
        let finding = socket_paths(Path::new(&long), 40);
        assert_eq!(finding.status, FindingStatus::Fail);
        assert!(finding.fix.is_some());
    }

    #[test]
    fn bad_28_few_open_files_come_with_the_line_to_type() {
        let finding = judge_files(Some(1024), Some(2048), 4096);
        assert_eq!((finding.status, finding.fix.as_deref()), (FindingStatus::Warn, Some("ulimit -n 4096")));
        let finding = judge_files(Some(1024), Some(1 << 20), 4096);
        assert_eq!(finding.fix.as_deref(), Some("ulimit -n 1048576"));
        for (current, maximum) in [(Some(4096), Some(4096)), (None, None)] {
            assert_eq!(judge_files(current, maximum, 4096).status, FindingStatus::Ok);
        }
    }

    #[test]
    fn bad_28_few_processes_come_with_the_line_to_type() {
        let finding = judge_processes(Some(300), Some(u64::MAX), 4096);
        assert_eq!(finding.fix.as_deref(), Some("sysctl -w kernel.pid_max=4096"));
        let finding = judge_processes(Some(1 << 22), Some(100), 4096);
        assert_eq!((finding.status, finding.fix.as_deref()), (FindingStatus::Warn, Some("ulimit -u 4096")));
        for (all, own) in [(Some(1 << 22), None), (None, None), (Some(4096), Some(4096))] {
            assert_eq!(judge_processes(all, own, 4096).status, FindingStatus::Ok);
        }
    }

    #[test]
    fn a_missing_kernel_is_a_failure_with_a_way_out() {
        let finding = file("kernel", Path::new("/nonexistent/vmlinuz"), "minions image build busybox");
        assert_eq!(finding.status, FindingStatus::Fail);
    }
}
