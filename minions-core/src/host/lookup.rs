//! Where programs lie.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where a program is looked for when the configuration does not say. Absolute: the environment's PATH is not asked.
pub const DEFAULT_DIRS: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The first executable file of this name in these folders.
#[must_use]
pub fn find_in(dirs: &[PathBuf], name: &str) -> Option<PathBuf> {
    dirs.iter().map(|dir| dir.join(name)).find(|path| is_executable(path))
}

/// The first executable file of this name in the [`DEFAULT_DIRS`].
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    find_in(&DEFAULT_DIRS.map(PathBuf::from), name)
}

/// Whether a file is there that we may run.
#[must_use]
pub fn is_executable(path: &Path) -> bool {
    path.is_absolute() && path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
