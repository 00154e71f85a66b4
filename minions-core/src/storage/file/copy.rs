//! Copies that cost what a file holds, not what it measures.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rustix::fs::{SeekFrom as HoleSeek, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::error::FileError;
use super::reflink::is_unsupported;

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
