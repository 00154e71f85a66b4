//! Makes the image's root the root.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::mount::mount_move;
use rustix::process::{chdir, chroot};

use super::mounts::NEW_ROOT;
use crate::agent::error::about;
use crate::error::{Error, Result};

/// Moves the mounts over, deletes the initrd's files (they occupy memory for ever) and moves the root.
pub(super) fn root() -> Result<()> {
    let step = |what: &'static str| move |error: rustix::io::Errno| about(what, error.into());
    for place in ["/dev", "/proc", "/sys"] {
        let to = format!("{NEW_ROOT}{place}");
        std::fs::create_dir_all(&to).map_err(|error| about(&to, error))?;
        mount_move(place, to.as_str()).map_err(|error| about(format_args!("cannot move {place}"), error.into()))?;
    }
    let device =
        |path: &str| std::fs::metadata(path).map(|metadata| metadata.dev()).map_err(|error| about(path, error));
    let initrd = device("/")?;
    if device(NEW_ROOT)? == initrd {
        return Err(Error::internal("the root disk is not mounted; the initrd is not deleted"));
    }
    chdir(NEW_ROOT).map_err(step("cannot enter the new root"))?;
    empty(Path::new("/"), initrd);
    mount_move(".", "/").map_err(step("cannot move the root"))?;
    chroot(".").map_err(step("cannot change the root"))?;
    chdir("/").map_err(step("cannot enter the root"))
}

/// Deletes everything below a directory that is on this device. What cannot be deleted only occupies memory.
fn empty(folder: &Path, device: u64) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            empty(&path, device);
            let _ = std::fs::remove_dir(&path);
        } else {
            let _ = std::fs::remove_file(&path);
        }
    }
}
