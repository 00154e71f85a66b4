//! Files of the guest.

mod bridge;
mod info;
mod read;
mod real;
mod ssh;
mod tar_in;
mod tar_out;
mod write;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub(super) use info::{list, stat};
pub(super) use read::read;
pub(super) use ssh::{scp, sftp};
pub(super) use tar_in::tar_in;
pub(super) use tar_out::tar_out;
pub(super) use write::write;

/// An absolute path, as the calls want it.
fn absolute(path: &str) -> Result<PathBuf> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::invalid("path", "a path in the guest begins with / and holds no zero byte"));
    }
    Ok(Path::new(path).to_path_buf())
}
