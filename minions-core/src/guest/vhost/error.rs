use std::io;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::types::{Cid, VmId};

#[derive(Debug, thiserror::Error)]
pub(super) enum VhostError {
    #[error("there is no door of {0}")]
    NoDoor(VmId),
    #[error("nobody answers on port {port} of {id}")]
    NoAnswer { id: VmId, port: u32, source: io::Error },
    #[error("{id} has {most} connections already")]
    TooMany { id: VmId, most: usize },
    #[error("the VSOCK context id {} of {id} is that of the door of {other}", .cid.get())]
    SameCid { id: VmId, cid: Cid, other: VmId },
    #[error("the door of {id} is for the VSOCK context id {}, not for {}", .have.get(), .want.get())]
    OtherCid { id: VmId, have: Cid, want: Cid },
    #[error(
        "another program listens on VSOCK port {port} of this host, most likely another daemon: end it, or let this one \
         use the helper (qemu.vsock = \"helper\")"
    )]
    PortTaken { port: u32, source: io::Error },
    #[error("cannot listen on VSOCK port {port} of this host: load the module vhost_vsock")]
    Listen { port: u32, source: io::Error },
}

impl VhostError {
    /// Why nobody can listen.
    pub fn listen(port: u32) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortTaken { port, source },
            _ => Self::Listen { port, source },
        }
    }
}

impl From<VhostError> for Error {
    fn from(error: VhostError) -> Self {
        let text = error.to_string();
        match error {
            VhostError::NoDoor(_) => Self::not_found(text),
            VhostError::NoAnswer { source, .. } => Self::new(ErrorKind::Unavailable, text).with_source(source),
            VhostError::TooMany { .. } => Self::new(ErrorKind::Exhausted, text),
            VhostError::SameCid { .. } | VhostError::OtherCid { .. } => Self::new(ErrorKind::Conflict, text),
            VhostError::PortTaken { source, .. } => {
                Self::new(ErrorKind::Conflict, text).with_reason("vsock_port_taken").with_source(source)
            }
            VhostError::Listen { source, .. } => Self::new(kind_of(&source), text)
                .with_effect(Effect::None)
                .with_reason("host_misconfigured")
                .with_source(source),
        }
    }
}
