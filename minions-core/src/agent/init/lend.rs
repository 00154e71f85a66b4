//! In an image that boots with its own initrd: leaves the VM's secret where only root of the booted system finds it, and
//! lets that initrd go on.
//!
//! The kernel starts this program in the place of `/init` (`rdinit=`). Whatever an initrd holds is deleted when it has found
//! the root; but all mounts of devtmpfs are one, from the first moment on. So that is where the secret waits for the agent.

use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::mount::{UnmountFlags, unmount};

use super::{Marks, SECRET, mounts, put};
use crate::agent::error::about;
use crate::agent::read_secret;
use crate::error::Result;

/// Where the secret waits, in a folder that only root enters.
pub(in crate::agent) const LENT: &str = "/dev/minions";

/// Lends it, and becomes that program. Returns only where it cannot be run.
pub(super) fn to(next: &str, marks: Marks) -> Result<()> {
    let secret = read_secret(Path::new(SECRET))?;
    std::fs::remove_file(SECRET).map_err(|error| about(SECRET, error))?;
    std::fs::DirBuilder::new().mode(0o700).create(LENT).map_err(|error| about(LENT, error))?;
    put(Path::new(LENT), &secret, "", marks)?;
    // What goes on finds nothing mounted, as it expects.
    for place in mounts::EARLY {
        unmount(place, UnmountFlags::empty())
            .map_err(|error| about(format_args!("cannot unmount {place}"), error.into()))?;
    }
    // The words that the kernel gave us are its.
    #[expect(clippy::disallowed_methods, reason = "the first process becomes the initrd's own")]
    let error = std::process::Command::new(next).args(std::env::args_os().skip(1)).exec();
    Err(about(format_args!("cannot run {next}"), error))
}
