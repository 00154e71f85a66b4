//! The devices of volumes, which are files to us: nothing in them is looked at.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::error::LvmError;
use crate::storage::bundle::Source;
use crate::types::FileDigest;

fn open(path: &Path) -> Result<File, LvmError> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(|source| LvmError::Device { what: "open", path: path.to_owned(), source })
}

/// Copies a root into a new volume, durably. Zeros take no room. Whenever `every` more bytes have arrived on the disk,
/// it asks whether to go on.
pub(super) fn fill(
    path: &Path,
    root: Source,
    every: u64,
    go_on: impl Fn() -> Result<(), LvmError>,
) -> Result<FileDigest, LvmError> {
    let failed = |source| LvmError::Device { what: "write", path: path.to_owned(), source };
    let mut device = open(path)?;
    let mut next = every;
    let digest = root.copy_with(&mut device, |device, taken| {
        if taken < next {
            return Ok(());
        }
        next = taken + every;
        // What is not on its way yet has no room given out.
        device.sync_data().map_err(failed)?;
        go_on()
    })?;
    device.sync_all().map_err(failed)?;
    Ok(digest)
}

/// `BLKDISCARD` of Linux, which the binding lacks.
const BLKDISCARD: libc::Ioctl = 0x1277;

/// Gives back all that a volume holds, down to the disk below. A disk that cannot is fine: no other volume would see
/// the bytes either way.
pub(super) fn discard(path: &Path) -> Result<(), LvmError> {
    let failed = |source| LvmError::Device { what: "discard", path: path.to_owned(), source };
    let mut device = open(path)?;
    let end = device.seek(SeekFrom::End(0)).map_err(failed)?;
    match discard_range(&device, [0, end]) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY)) => Ok(()),
        result => result.map_err(failed),
    }
}

#[expect(unsafe_code, reason = "no safe binding of this call in the tree")]
fn discard_range(device: &File, range: [u64; 2]) -> std::io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call, which reads two 64-bit numbers, and nothing else,
    // from the pointer.
    let status = unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    if status == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
