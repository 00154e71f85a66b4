//! The folder of all VMs that run: one below it for each, which the guest channel has its sockets in, too.

use std::io;
use std::path::Path;

use super::error::MonitorError;
use super::turns::Turns;
use crate::env::CallCx;
use crate::error::Result;
use crate::host::files;
use crate::types::{VmId, names};

/// Whether anything of a monitor's is left in a VM's folder.
pub(super) fn any(dir: &Path) -> io::Result<bool> {
    for path in files::paths(dir)? {
        if !is_door(&path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How often what is left of a VM is cleared away, where another monitor comes up meanwhile.
pub(super) const CLEARED: u32 = 3;

pub(super) fn held_again() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "a key is held again")
}

/// Whether a path in a VM's folder is a door of the guest channel's: a socket of its name, and of this user. What a monitor
/// may have put there under such a name is not.
pub(super) fn is_door(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let name = path.file_name().and_then(|name| name.to_str());
    if !name.is_some_and(names::is_vsock_port) {
        return Ok(false);
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(meta.file_type().is_socket() && meta.uid() == rustix::process::geteuid().as_raw()),
        // The channel has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// The VMs of which anything is left, or in a moment may be.
pub(super) async fn list(cx: &CallCx, run: &Path, turns: &Turns) -> Result<Vec<VmId>> {
    // First those that are being changed right now: one whose caller is gone may make its files in a moment.
    let in_flight = turns.changing();
    let run = run.to_owned();
    let listed = crate::host::blocking(move || {
        let io = MonitorError::io("list the running VMs");
        let mut ids = Vec::new();
        for id in files::names(&run).map_err(&io)?.iter().filter_map(|name| names::vm_of_dir(name)) {
            if any(&run.join(names::vm_dir(id))).map_err(&io)? {
                ids.push(id);
            }
        }
        Ok(ids)
    });
    let mut ids = cx.bound(listed).await?;
    ids.extend(in_flight);
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
