//! The programs of the host that builds need.

use std::path::{Path, PathBuf};

use super::error::ImageError;
use crate::host::lookup;

/// Where they lie; `None` where a program is not on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageTools {
    /// A static busybox: it goes into the image.
    pub busybox: Option<PathBuf>,
    /// Of e2fsprogs.
    pub mke2fs: Option<PathBuf>,
    /// Of e2fsprogs, too.
    pub debugfs: Option<PathBuf>,
    /// Makes a Debian.
    pub mmdebstrap: Option<PathBuf>,
    /// Runs a program of a Debian that is being made.
    pub chroot: Option<PathBuf>,
    /// Copies a folder.
    pub cp: Option<PathBuf>,
    /// Unpacks an archive.
    pub tar: Option<PathBuf>,
    /// Fetches the kernel's package.
    pub apt_get: Option<PathBuf>,
    /// Knows its exact name.
    pub apt_cache: Option<PathBuf>,
    /// Unpacks it.
    pub dpkg: Option<PathBuf>,
}

impl ImageTools {
    /// Looks in these folders.
    #[must_use]
    pub fn find_in(dirs: &[PathBuf]) -> Self {
        let find = |name| lookup::find_in(dirs, name);
        Self {
            busybox: find("busybox"),
            mke2fs: find("mke2fs"),
            debugfs: find("debugfs"),
            mmdebstrap: find("mmdebstrap"),
            chroot: find("chroot"),
            cp: find("cp"),
            tar: find("tar"),
            apt_get: find("apt-get"),
            apt_cache: find("apt-cache"),
            dpkg: find("dpkg"),
        }
    }

    /// Looks in the usual folders.
    #[must_use]
    pub fn find() -> Self {
        Self::find_in(&lookup::DEFAULT_DIRS.map(PathBuf::from))
    }
}

/// A program that must be there, or the line to type.
pub(super) fn needed<'a>(
    tool: Option<&'a PathBuf>,
    program: &'static str,
    fix: &'static str,
) -> Result<&'a Path, ImageError> {
    tool.map(PathBuf::as_path).ok_or(ImageError::Program { program, fix })
}
