//! Whether the filesystem shares blocks between files.

use std::io::Write;
use std::path::Path;

use rustix::fs::ioctl_ficlone;
use rustix::io::Errno;

use super::error::FileError;
use crate::host::files;

/// Whether "not here" is what an error of `FICLONE` means.
pub(super) fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::XDEV | Errno::NOSYS)
}

/// Tries it.
pub(super) fn works_in(tmp: &Path) -> Result<bool, FileError> {
    let io = FileError::io("try whether blocks can be shared");
    let paths = [tmp.join("probe.from"), tmp.join("probe.to")];
    let mut from = files::open_write(&paths[0], 0o600).map_err(&io)?;
    from.write_all(&[1; 4096]).map_err(&io)?;
    let to = files::open_write(&paths[1], 0o600).map_err(&io)?;
    let works = match ioctl_ficlone(&to, &from) {
        Ok(()) => true,
        Err(error) if is_unsupported(error) => false,
        Err(error) => return Err(FileError::from_errno("try whether blocks can be shared", error)),
    };
    for path in &paths {
        files::absent(path).map_err(&io)?;
    }
    Ok(works)
}
