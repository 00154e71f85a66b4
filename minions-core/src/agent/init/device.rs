//! Waits for a device that the kernel has yet to find.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::agent::error::about;
use crate::agent::status::micros_since_boot;
use crate::error::{Error, Result};

/// How long a disk may take to appear.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns once the device is there. The kernel says when names appear; nothing is asked twice in vain.
pub(super) fn wait(path: &str) -> Result<()> {
    if Path::new(path).exists() {
        return Ok(());
    }
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(|error| about("cannot watch /dev", error.into()))?;
    let folder = Path::new(path).parent().unwrap_or(Path::new("/dev"));
    inotify::add_watch(&watch, folder, inotify::WatchFlags::CREATE)
        .map_err(|error| about(format_args!("cannot watch {}", folder.display()), error.into()))?;
    let end = micros_since_boot() + u64::try_from(LIMIT.as_micros()).unwrap_or(u64::MAX);
    // It may have come before the watch began.
    while !Path::new(path).exists() {
        let left = Duration::from_micros(end.saturating_sub(micros_since_boot()));
        if left.is_zero() {
            return Err(Error::not_found(format!("the machine has no {path}")));
        }
        let left = Timespec::try_from(left).map_err(|_| Error::internal("a wait that is too long"))?;
        match poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(about("cannot wait for a device", error.into())),
        }
        // What appeared does not matter, only that something did.
        let mut names = [0; 4096];
        while rustix::io::read(&watch, names.as_mut_slice()).is_ok_and(|read| read > 0) {}
    }
    Ok(())
}
