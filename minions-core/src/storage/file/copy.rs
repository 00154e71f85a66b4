//! Copies that cost what a file holds, not what it measures.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{SeekFrom as HoleSeek, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::error::FileError;
use super::reflink::is_unsupported;
use crate::host::files;
use crate::types::FileDigest;

/// Makes `to` hold what `from` does: shared blocks where the filesystem can, else only the bytes that are not holes.
pub(super) fn clone_or_sparse(from: &File, to: &File) -> Result<(), FileError> {
    match ioctl_ficlone(to, from) {
        Ok(()) => return Ok(()),
        Err(error) if is_unsupported(error) => {}
        Err(error) => return Err(FileError::from_errno("share an image's blocks", error)),
    }
    let io = FileError::io("copy an image");
    let size = from.metadata().map_err(&io)?.len();
    to.set_len(size).map_err(&io)?;
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, size).map_err(&io)? {
        copy_range(from, to, start, end).map_err(&io)?;
        at = end;
    }
    Ok(())
}

/// The next stretch that is not a hole.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match seek(file, HoleSeek::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A filesystem that knows no holes has data everywhere.
        Err(Errno::INVAL) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, HoleSeek::Hole(start))?;
    Ok(Some((start, end.min(size))))
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let left = usize::try_from(end - read_at).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), left) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {}
            Err(error) if is_unsupported(error) && read_at == start => return copy_by_hand(from, to, start, end),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(mut from: &File, mut to: &File, start: u64, end: u64) -> io::Result<()> {
    from.seek(SeekFrom::Start(start))?;
    to.seek(SeekFrom::Start(start))?;
    let copied = io::copy(&mut from.take(end - start), &mut to)?;
    if copied == end - start { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
}

/// Formats that are not raw bytes, by how they begin.
const NOT_RAW: [(&[u8], &str); 5] = [
    (b"QFI\xfb", "a qcow2 image"),
    (b"KDMV", "a VMDK image"),
    (b"COWD", "a VMDK image"),
    (b"vhdxfile", "a VHDX image"),
    (b"conectix", "a VHD image"),
];

/// Most bytes that a file taken in may measure: far more than any, and far less than would hang us for days.
const MAX_SOURCE: u64 = 1 << 40;

/// Takes a file in from outside: reads it once, tells what it holds, leaves zeros as holes. `what` is its name for
/// people, and `raw` says that it must be no container format.
pub(super) fn take_in(what: &'static str, from: &Path, to: &Path, raw: bool) -> Result<FileDigest, FileError> {
    let refuse = |text: String| FileError::Source { field: what, what: text };
    let mut source = files::open_read(from).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => refuse("is a symbolic link; give the file itself".to_owned()),
        Some(libc::ENXIO) => refuse("is a socket, not a file".to_owned()),
        _ => refuse(format!("cannot be read: {error}")),
    })?;
    let io = FileError::io("take a file in");
    let before = source.metadata().map_err(&io)?;
    if !before.is_file() {
        return Err(refuse("is not a regular file".to_owned()));
    }
    if before.len() == 0 {
        return Err(refuse("is empty".to_owned()));
    }
    if before.len() > MAX_SOURCE {
        return Err(refuse(format!("measures {} bytes, more than any image", before.len())));
    }
    let mut target = files::open_write(to, 0o400).map_err(&io)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0u64;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
        };
        let bytes = &buffer[..count];
        if size == 0
            && raw
            && let Some((_, name)) = NOT_RAW.iter().find(|(magic, _)| bytes.starts_with(magic))
        {
            return Err(refuse(format!("is {name}, not raw; convert it first: qemu-img convert -O raw")));
        }
        hash.update(bytes);
        write_sparse(&mut target, bytes).map_err(&io)?;
        size += u64::try_from(count).unwrap_or(0);
        if size > before.len() {
            break;
        }
    }
    let after = source.metadata().map_err(&io)?;
    let same =
        |meta: &std::fs::Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    if size != before.len() || same(&before) != same(&after) {
        return Err(refuse("changed while it was copied; try again when nobody writes it".to_owned()));
    }
    target.set_len(size).map_err(&io)?;
    target.sync_all().map_err(&io)?;
    Ok(FileDigest::new(&hash.finalize(), size))
}

/// Leaves blocks of zeros out; the file's length is set at the end.
fn write_sparse(target: &mut File, bytes: &[u8]) -> io::Result<()> {
    for block in bytes.chunks(4096) {
        if block.iter().all(|&byte| byte == 0) {
            target.seek(SeekFrom::Current(i64::try_from(block.len()).unwrap_or(0)))?;
        } else {
            target.write_all(block)?;
        }
    }
    Ok(())
}
