//! Where the things of one monitor lie.

use std::path::{Path, PathBuf};

use crate::types::{VmId, names};

/// The longest name of a socket below the folder of all VMs.
pub(super) const LONGEST: usize = "vm_00000000000000000000000000/api.18446744073709551615".len();

/// What the name of a control socket begins with; the epoch stands behind it.
const API: &str = "api.";

/// One VM's folder. The guest channel has its sockets in it too; all else is the monitor's.
#[derive(Clone, Debug)]
pub(super) struct Places {
    dir: PathBuf,
}

impl Places {
    pub fn new(run: &Path, id: VmId) -> Self {
        Self { dir: run.join(names::vm_dir(id)) }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The key that the monitor holds.
    pub fn key(&self) -> PathBuf {
        self.dir.join("monitor.key")
    }

    /// What the last one was configured with: for a dead monitor only, a live one tells by its words.
    pub fn epoch(&self) -> PathBuf {
        self.dir.join("epoch")
    }

    /// The control socket of a monitor of this epoch: the only free word that it is started with.
    pub fn api(&self, epoch: u64) -> PathBuf {
        self.dir.join(format!("{API}{epoch}"))
    }

    /// The image's initrd with this boot's secret behind it.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd")
    }

    /// The pipe into which the monitor tells what happens.
    pub fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    /// The guest's serial line.
    pub fn serial(&self) -> PathBuf {
        self.dir.join("serial")
    }

    /// Between the monitor and the guest channel.
    pub fn vsock(&self) -> PathBuf {
        self.dir.join(names::VSOCK)
    }

    /// What was read of the guest's serial line.
    pub fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    /// What a monitor writes of its halted guest, or reads of one: for a moment only.
    pub fn capture(&self) -> PathBuf {
        self.dir.join("capture")
    }

    /// Where its view of the file system is made: an empty folder for everybody else.
    pub fn view(&self) -> PathBuf {
        self.dir.join("view")
    }
}

/// The epoch in a control socket's path; `None` where it is not one of this id.
pub(super) fn epoch_of(api: &Path, id: VmId) -> Option<u64> {
    let name = api.file_name()?.to_str()?;
    let vm = api.parent()?.file_name()?.to_str()?;
    if names::vm_of_dir(vm) == Some(id) { name.strip_prefix(API)?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_socket_is_longer_than_what_preflight_counts_with() {
        let places = Places::new(Path::new("/r"), VmId::from_bits(u128::MAX));
        let port = places.dir().join(names::vsock_port(u32::MAX));
        for path in [places.api(u64::MAX), places.serial(), places.vsock(), port] {
            assert!(path.as_os_str().len() <= "/r/".len() + LONGEST, "{}", path.display());
        }
    }

    #[test]
    fn the_epoch_reads_back_from_the_socket_and_from_nobody_elses() {
        let id = VmId::from_bits(1);
        let api = Places::new(Path::new("/r"), id).api(7);
        assert_eq!(epoch_of(&api, id), Some(7));
        assert_eq!(epoch_of(&api, VmId::from_bits(2)), None);
        assert_eq!(epoch_of(Path::new("/r/api.7"), id), None);
        assert_eq!(epoch_of(&api.with_file_name("serial"), id), None);
    }
}
