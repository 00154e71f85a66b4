//! Limits of memory, processes and processor time: a control group, made by systemd where that runs, by us elsewhere.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::types::{ByteSize, Vcpus, VmId, names};

/// What one monitor may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory, the guest's in it. Never any on a swap disk.
    pub memory: u64,
    /// Threads.
    pub tasks: u64,
    /// Processor time, in hundredths of a processor.
    pub percent: u64,
}

impl Bounds {
    /// For a guest of this size: beside its memory, what the monitor takes for itself and the kernel for its page tables;
    /// beside its processors, what carries its disks and its network.
    #[must_use]
    pub fn of(vcpus: Vcpus, memory: ByteSize) -> Self {
        let processors = u64::from(vcpus.0);
        Self {
            memory: memory.get() + memory.get() / 32 + (128 << 20),
            tasks: 64 + 4 * processors,
            percent: 100 * (processors + 1),
        }
    }

    /// The files of a control group, and what is written into them.
    #[must_use]
    pub fn files(&self) -> [(&'static str, String); 4] {
        [
            ("memory.max", self.memory.to_string()),
            ("memory.swap.max", "0".to_owned()),
            ("pids.max", self.tasks.to_string()),
            ("cpu.max", format!("{} 100000", self.percent * 1000)),
        ]
    }

    /// The words that let systemd start what follows in a control group of its own. It becomes that program, and is no
    /// process beside it. `start` tells one start of a VM from the one before, whose unit may not have gone yet.
    #[must_use]
    pub fn scope(&self, id: VmId, start: u64) -> Vec<OsString> {
        let words = ["--scope", "--quiet", "--collect", "--slice=minions"].map(OsString::from);
        let unit = OsString::from(format!("--unit=minions-vm-{}-{start}", names::vm_dir(id)));
        let properties = [
            format!("MemoryMax={}", self.memory),
            "MemorySwapMax=0".to_owned(),
            format!("TasksMax={}", self.tasks),
            format!("CPUQuota={}%", self.percent),
        ];
        let properties = properties.into_iter().flat_map(|property| [OsString::from("-p"), property.into()]);
        words.into_iter().chain([unit]).chain(properties).chain([OsString::from("--")]).collect()
    }
}

/// A control group of ours below the root of them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(PathBuf);

/// What is limited.
const CONTROLLERS: &str = "+memory +pids +cpu";

impl Group {
    /// Of a VM, where control groups are mounted.
    #[must_use]
    pub fn of(root: &Path, id: VmId) -> Self {
        Self(root.join("minions").join(names::vm_dir(id)))
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// It is there with these bounds.
    pub fn ensure(&self, bounds: &Bounds) -> io::Result<()> {
        let parent = self.0.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(&self.0)?;
        for folder in [parent.parent().unwrap_or(parent), parent] {
            std::fs::write(folder.join("cgroup.subtree_control"), CONTROLLERS)?;
        }
        for (file, value) in bounds.files() {
            std::fs::write(self.0.join(file), value)?;
        }
        Ok(())
    }

    /// It is gone; nobody may be in it.
    pub fn absent(&self) -> io::Result<()> {
        match std::fs::remove_dir(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether a process is in a control group that limits its memory and its threads.
pub(super) fn limited(pid: u32) -> bool {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else { return false };
    let folder = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let bounded = |file: &str| std::fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim() != "max");
    bounded("memory.max") && bounded("pids.max")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctl_1_1_the_bounds_of_a_vm_are_these() {
        let bounds = Bounds::of(Vcpus(2), ByteSize::gib(1));
        let files = bounds.files().map(|(file, value)| format!("{file}={value}"));
        assert_eq!(files, ["memory.max=1241513984", "memory.swap.max=0", "pids.max=72", "cpu.max=300000 100000"]);
        let words: Vec<_> =
            bounds.scope(VmId::from_bits(1), 7).into_iter().map(|word| word.into_string().unwrap()).collect();
        let golden = "--scope --quiet --collect --slice=minions --unit=minions-vm-vm_00000000000000000000000001-7 \
            -p MemoryMax=1241513984 -p MemorySwapMax=0 -p TasksMax=72 -p CPUQuota=300% --";
        assert_eq!(words.join(" "), golden);
    }
}
