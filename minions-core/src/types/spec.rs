//! What a VM shall be.

use std::fmt;

use super::id::{ImageId, VmId};
use super::size::{ByteSize, Vcpus};

/// What was asked for; changes only through an acknowledged request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VmSpec {
    /// The base of the root disk.
    pub image: ImageId,
    /// Processors.
    pub vcpus: Vcpus,
    /// Memory.
    pub memory: ByteSize,
    /// Size of the root disk.
    pub root: ByteSize,
    /// Size of the data disk, where there is one.
    pub data: Option<ByteSize>,
}

/// What a monitor gives its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VmSize {
    /// Processors.
    pub vcpus: Vcpus,
    /// Memory.
    pub memory: ByteSize,
}

/// The least that a data disk has: what the agent can make a file system on.
pub const MIN_DATA_DISK: ByteSize = ByteSize::mib(16);

/// Which of a VM's disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskRole {
    /// Copy-on-write from the image.
    Root,
    /// Persistent, mounted at `/data`.
    Data,
}

impl DiskRole {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Data => "data",
        }
    }

    /// Reads its word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "root" => Some(Self::Root),
            "data" => Some(Self::Data),
            _ => None,
        }
    }
}

/// A volume is named by the VM it was made for and its role.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct VolumeId {
    /// Whose it was made for.
    pub vm: VmId,
    /// Which of its disks.
    pub role: DiskRole,
}

impl VolumeId {
    /// The root disk of a VM.
    #[must_use]
    pub const fn root(vm: VmId) -> Self {
        Self { vm, role: DiskRole::Root }
    }
    /// The data disk of a VM.
    #[must_use]
    pub const fn data(vm: VmId) -> Self {
        Self { vm, role: DiskRole::Data }
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::names::volume(*self))
    }
}

impl fmt::Debug for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
