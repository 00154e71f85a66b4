//! Where the things of one monitor lie.

use std::path::{Path, PathBuf};

use crate::types::{VmId, names};

/// The longest name of a socket below the folder of all VMs.
pub(super) const LONGEST: usize = "vm_00000000000000000000000000/v_4294967295".len();

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

    /// The key that QEMU holds.
    pub fn monitor_key(&self) -> PathBuf {
        self.dir.join("qemu.key")
    }

    /// The key that the VSOCK helper holds.
    pub fn helper_key(&self) -> PathBuf {
        self.dir.join("vsock.key")
    }

    /// What the last one was configured with: for a dead monitor only, a live one tells by its words.
    pub fn epoch(&self) -> PathBuf {
        self.dir.join("epoch")
    }

    /// The image's initrd with this boot's secret behind it.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd")
    }

    /// QEMU's control socket.
    pub fn qmp(&self) -> PathBuf {
        self.dir.join("qmp")
    }

    /// QEMU's second control socket, on which somebody waits for the guest's end.
    pub fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    /// Between QEMU and the helper.
    pub fn vhost(&self) -> PathBuf {
        self.dir.join("vhost")
    }

    /// Between the helper and the guest channel.
    pub fn vsock(&self) -> PathBuf {
        self.dir.join(names::VSOCK)
    }

    /// What was read of the guest's serial log.
    pub fn console(&self) -> PathBuf {
        self.dir.join("console")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_socket_is_longer_than_what_preflight_counts_with() {
        let places = Places::new(Path::new("/r"), VmId::from_bits(u128::MAX));
        let port = places.dir().join(names::vsock_port(u32::MAX));
        for path in [places.qmp(), places.vhost(), places.vsock(), port] {
            assert!(path.as_os_str().len() <= "/r/".len() + LONGEST, "{}", path.display());
        }
    }
}
