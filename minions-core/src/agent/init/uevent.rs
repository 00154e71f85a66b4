//! Waits for what the kernel has yet to find, by its own messages.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::agent::error::about;
use crate::agent::status::micros_since_boot;
use crate::error::{Error, Result};

/// The kernel's own messages, not udev's.
const KERNEL: u32 = 1;

/// Returns what `look` finds, as soon as it finds something; it is asked whenever the kernel has found a device.
pub(super) fn wait<T>(limit: Duration, look: impl Fn() -> Option<T>) -> Result<Option<T>> {
    if let Some(found) = look() {
        return Ok(Some(found));
    }
    let failed = |error: rustix::io::Errno| about("cannot listen to the kernel's messages", error.into());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT)).map_err(failed)?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL)).map_err(failed)?;
    let end = micros_since_boot() + u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    loop {
        // It may have come before the socket was there.
        if let Some(found) = look() {
            return Ok(Some(found));
        }
        let left = Duration::from_micros(end.saturating_sub(micros_since_boot()));
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec::try_from(left).map_err(|_| Error::internal("a wait that is too long"))?;
        match poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
        // What appeared does not matter, only that something did.
        let mut message = [0; 8192];
        while recv(&socket, &mut message, RecvFlags::empty()).is_ok_and(|(read, _)| read > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_at_once_and_what_never_comes_only_costs_its_time() {
        assert_eq!(wait(Duration::from_secs(600), || Some(7)).unwrap(), Some(7));
        assert_eq!(wait(Duration::from_millis(50), || None::<u8>).unwrap(), None);
    }
}
