//! Root and data disk.

use rustix::mount::MountFlags;

use super::cmdline::BootPlan;
use super::mounts::{NEW_ROOT, put};
use super::{blank, device};
use crate::agent::log::say;
use crate::error::Result;

/// Mounts the root at its temporary place, and the data disk below it. A blank data disk becomes an ext4 of its size;
/// one that holds something else than an ext4 is left alone, and the guest boots without it.
pub(super) fn mount(plan: &BootPlan) -> Result<()> {
    device::wait(&plan.root)?;
    put(&plan.root, NEW_ROOT, &plan.root_fs, MountFlags::empty(), c"")?;
    mount_data(plan, &format!("{NEW_ROOT}/data"))
}

/// Mounts the data disk at this place, where the machine has one.
pub(super) fn mount_data(plan: &BootPlan, at: &str) -> Result<()> {
    let Some(data) = &plan.data else { return Ok(()) };
    device::wait(data)?;
    let made = blank::make(data)?;
    match put(data, at, "ext4", MountFlags::NOSUID | MountFlags::NODEV, c"") {
        Ok(()) if made => crate::agent::grow::grow_mounted(at).map(|_| ()),
        Ok(()) => Ok(()),
        Err(error) if made => Err(error),
        Err(error) => {
            say(format_args!("the data disk is left alone: {}", error.chain()));
            Ok(())
        }
    }
}
