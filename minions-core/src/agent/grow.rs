//! Grows a file system to the size of its disk, while it is mounted. The kernel does it: no program is needed.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use super::error::{about, blocking};
use crate::api::guest::FsTarget;
use crate::error::{Error, ErrorKind, Result};

/// `EXT4_IOC_RESIZE_FS`: takes the new number of blocks.
const RESIZE: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<u64>(b'f', 16);

/// Returns the size in bytes that the file system then has.
pub(super) async fn grow(target: FsTarget) -> Result<u64> {
    let mount = match target {
        FsTarget::Root => "/",
        FsTarget::Data => "/data",
    };
    blocking(move || grow_mounted(mount)).await
}

pub(super) fn grow_mounted(mount: &str) -> Result<u64> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(|error| about("/proc/self/mounts", error))?;
    let (device, kind) = mounted(&mounts, mount)
        .ok_or_else(|| Error::not_found(format!("no disk is mounted at {mount} in the guest")))?;
    if kind != "ext4" {
        return Err(Error::new(ErrorKind::Unsupported, format!("the file system at {mount} is {kind}, not ext4")));
    }
    let size = File::open(device)
        .and_then(|mut device| device.seek(SeekFrom::End(0)))
        .map_err(|error| about(device, error))?;
    let space = rustix::fs::statvfs(mount).map_err(|error| about(mount, error.into()))?;
    let block = space.f_frsize.max(1);
    let folder = File::open(mount).map_err(|error| about(mount, error))?;
    resize(&folder, size / block)
        .map_err(|error| about(format_args!("cannot grow the file system at {mount}"), error))?;
    Ok(size / block * block)
}

#[expect(unsafe_code, reason = "the request has no safe wrapper")]
fn resize(folder: &File, blocks: u64) -> std::io::Result<()> {
    // SAFETY: the kernel reads one u64 for this request, and changes no memory of this process.
    let request = unsafe { rustix::ioctl::Setter::<RESIZE, u64>::new(blocks) };
    // SAFETY: as above; the file descriptor is borrowed for the call.
    unsafe { rustix::ioctl::ioctl(folder, request) }.map_err(Into::into)
}

/// The device and the kind of what is mounted last at a place.
fn mounted<'a>(mounts: &'a str, place: &str) -> Option<(&'a str, &'a str)> {
    let line = |line: &'a str| {
        let mut fields = line.split_ascii_whitespace();
        let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (at == place && device.starts_with("/dev/")).then_some((device, kind))
    };
    mounts.lines().filter_map(line).next_back()
}
