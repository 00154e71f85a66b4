//! The kernel's own VSOCK, and the seam at which tests put something else in its place.

use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;

use async_trait::async_trait;
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener, VsockStream};

use crate::types::Cid;

/// What carries connections between the host and its guests.
#[async_trait]
pub(super) trait Carrier: Debug + Send + Sync + 'static {
    /// The next connection to the host's port, and the context id of who made it: the kernel writes it, its guest cannot.
    async fn accept(&self) -> io::Result<(OwnedFd, u32)>;

    /// A connection to a port of a guest.
    async fn dial(&self, cid: Cid, port: u32) -> io::Result<OwnedFd>;
}

/// The kernel.
#[derive(Debug)]
pub(super) struct Kernel(VsockListener);

impl Kernel {
    /// Listens on a port of the host, for all guests.
    pub fn bind(port: u32) -> io::Result<Self> {
        VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port)).map(Self)
    }
}

#[async_trait]
impl Carrier for Kernel {
    async fn accept(&self) -> io::Result<(OwnedFd, u32)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((stream.into(), peer.cid()))
    }

    async fn dial(&self, cid: Cid, port: u32) -> io::Result<OwnedFd> {
        VsockStream::connect(VsockAddr::new(cid.get(), port)).await.map(Into::into)
    }
}
