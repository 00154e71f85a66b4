//! Notices that somebody changed the firewall, as it happens.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::unix::AsyncFd;

use crate::host::process;

/// The group that is told of every change of a ruleset.
const CHANGES: u32 = 1 << 6;

/// Hears of changes in the network namespace of the calling thread.
#[derive(Debug)]
pub(super) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// From now on.
    pub fn start() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
        bind(&fd, &SocketAddrNetlink::new(0, CHANGES))?;
        Ok(Self(process::watch(fd)?))
    }

    /// Waits for changes, and takes all that were told as one.
    pub async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut bytes = [0; 4096];
        loop {
            match recv(self.0.get_ref(), &mut bytes, RecvFlags::empty()) {
                // So many that some could not be told: that is a change, too.
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
