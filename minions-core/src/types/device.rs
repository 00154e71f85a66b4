//! Devices, as one port makes them and another opens them.

use std::path::PathBuf;

use super::net::{GuestNet, IfName, MacAddr};
use super::spec::DiskRole;

/// A volume as a monitor opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskAttachment {
    /// Which disk.
    pub role: DiskRole,
    /// Raw bytes: a file or a block device.
    pub path: PathBuf,
}

/// A network port as a monitor opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicAttachment {
    /// How the host's side is made.
    pub backend: NicBackend,
    /// Its link address.
    pub mac: MacAddr,
    /// What the guest is told.
    pub net: GuestNet,
}

/// The host's side of a network port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NicBackend {
    /// A tap interface that exists.
    Tap(IfName),
    /// The monitor's own user-mode NAT.
    User,
    /// None: for simulated hosts.
    Simulated,
}
