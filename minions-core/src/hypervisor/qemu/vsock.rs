//! What carries a guest's VSOCK: the kernel, where it has a device for that, or a helper process beside QEMU.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::command::Accel;
use super::places::Places;
use crate::host::{files, key};
use crate::hypervisor::error::MonitorError;
use crate::types::{Cid, names};

/// The kernel's device.
const DEVICE: &str = "/dev/vhost-vsock";

/// `VHOST_VSOCK_SET_GUEST_CID`.
const SET_GUEST_CID: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<u64>(0xaf, 0x60);

/// What carries the VSOCK of QEMU's guests. The guest channel has to be of the same kind: `guest::vhost` with the kernel,
/// `guest::vsock` with the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vsock {
    /// The kernel, by this device: no process beside QEMU. Context ids are the host's, whoever has them.
    Kernel(PathBuf),
    /// `vhost-device-vsock`, by its absolute path: needs nothing of the kernel.
    Helper(PathBuf),
}

impl Vsock {
    /// By the kernel.
    #[must_use]
    pub fn kernel() -> Self {
        Self::Kernel(PathBuf::from(DEVICE))
    }

    /// The kernel where it can be had and guests run on the processor, else this helper. Where a guest that runs below this
    /// folder has a helper, it stays so for all until none has: no channel reaches both kinds.
    pub fn best(accel: Accel, run_dir: &Path, helper: PathBuf) -> io::Result<Self> {
        let kernel = accel == Accel::Kvm && open(Path::new(DEVICE)).is_ok() && !any_helper(run_dir)?;
        Ok(if kernel { Self::kernel() } else { Self::Helper(helper) })
    }
}

/// Whether a helper runs for a VM below this folder.
fn any_helper(run_dir: &Path) -> io::Result<bool> {
    for id in files::names(run_dir)?.iter().filter_map(|name| names::vm_of_dir(name)) {
        if key::is_held(&Places::new(run_dir, id).helper_key())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens the device: nothing happens to it yet.
pub(super) fn open(device: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(device)
}

/// The device of one guest. Its context id is the guest's from now on, until the last who has the file open closes it.
pub(super) fn claim(device: &Path, cid: Cid) -> Result<File, MonitorError> {
    let file = open(device).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MonitorError::Missing { what: "kernel's VSOCK device", path: device.to_owned() },
        _ => MonitorError::Io { what: "open the kernel's VSOCK device", source: error },
    })?;
    #[expect(unsafe_code, reason = "an ioctl that no safe crate wraps")]
    // SAFETY: VHOST_VSOCK_SET_GUEST_CID reads one u64, which the request holds over the call.
    let set = unsafe {
        let request = rustix::ioctl::Setter::<SET_GUEST_CID, u64>::new(u64::from(cid.get()));
        rustix::ioctl::ioctl(&file, request)
    };
    set.map_err(|error| refused(cid, error.into()))?;
    Ok(file)
}

/// Why a context id could not be had.
fn refused(cid: Cid, source: io::Error) -> MonitorError {
    match source.kind() {
        io::ErrorKind::AddrInUse => MonitorError::CidTaken { cid },
        _ => MonitorError::Io { what: "set a guest's VSOCK context id", source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::types::VmId;

    #[test]
    fn a_context_id_that_another_program_has_is_told_as_such() {
        let taken = refused(Cid::FIRST, io::Error::from_raw_os_error(libc::EADDRINUSE));
        let error = Error::from(taken);
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some("cid_taken")), "{error}");
        assert!(error.to_string().contains("context id 3"), "{error}");
        let other = Error::from(refused(Cid::FIRST, io::Error::from_raw_os_error(libc::EFAULT)));
        assert_ne!(other.reason(), Some("cid_taken"), "{other}");
    }

    #[test]
    fn a_context_id_is_had_once_at_a_time() {
        if let Err(error) = open(Path::new(DEVICE)) {
            return eprintln!("SKIPPED: a_context_id_is_had_once_at_a_time: {DEVICE}: {error}");
        }
        let cid = Cid::new(4_000_000).unwrap();
        let first = claim(Path::new(DEVICE), cid).unwrap();
        assert!(matches!(claim(Path::new(DEVICE), cid), Err(MonitorError::CidTaken { .. })));
        drop(first);
        claim(Path::new(DEVICE), cid).unwrap();
    }

    #[test]
    fn a_device_that_is_not_there_is_missing() {
        let error = Error::from(claim(Path::new("/nonexistent/vhost"), Cid::FIRST).unwrap_err());
        assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some("host_misconfigured")), "{error}");
    }

    #[test]
    fn guests_that_run_with_a_helper_keep_the_others_with_it() {
        let dir = std::env::temp_dir().join(format!("mn-vsock-choice-{}", std::process::id()));
        let places = Places::new(&dir, VmId::from_bits(5));
        assert!(!any_helper(&dir).unwrap(), "there is no folder yet");
        files::make_dir(places.dir()).unwrap();
        let held = key::take(&places.helper_key()).unwrap().unwrap();
        assert!(any_helper(&dir).unwrap());
        drop(held);
        assert!(!any_helper(&dir).unwrap(), "one that is dead counts no more");
        let helper = PathBuf::from("/h");
        assert_eq!(Vsock::best(Accel::Emulation, &dir, helper.clone()).unwrap(), Vsock::Helper(helper));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
