//! What a VM shall be.

use std::fmt;

use super::id::{ImageId, VmId};
use super::net::PortPolicy;
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
    /// Which root disk it is: rises with each that takes the place of another.
    #[serde(default, skip_serializing_if = "is_first")]
    pub root_turn: u32,
    /// Whose data disk it has taken over, where that was not made for it: of a VM which was destroyed and left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_from: Option<VmId>,
    /// What its network port lets through.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: PortPolicy,
}

fn is_default(policy: &PortPolicy) -> bool {
    *policy == PortPolicy::default()
}

impl VmSpec {
    /// What a VM has where nothing else is said: 2 processors, 1 GiB of memory, two disks of 10 GiB.
    #[must_use]
    pub fn of(image: ImageId) -> Self {
        Self {
            image,
            vcpus: Vcpus(2),
            memory: ByteSize::gib(1),
            root: ByteSize::gib(10),
            data: Some(ByteSize::gib(10)),
            root_turn: 0,
            data_from: None,
            policy: PortPolicy::default(),
        }
    }

    /// The root disk of the VM that this is the spec of.
    #[must_use]
    pub const fn root_volume(&self, vm: VmId) -> VolumeId {
        VolumeId::root(vm).at(self.root_turn)
    }

    /// The data disk of the VM that this is the spec of, where it has one.
    #[must_use]
    pub fn data_volume(&self, vm: VmId) -> Option<VolumeId> {
        self.data.map(|_| VolumeId::data(self.data_from.unwrap_or(vm)))
    }
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

/// A volume is named by the VM it was made for, its role, and which one of that role it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct VolumeId {
    /// Whose it was made for.
    pub vm: VmId,
    /// Which of its disks.
    pub role: DiskRole,
    /// The first one of a role is 0; a root disk that takes the place of another has a higher number.
    #[serde(default, skip_serializing_if = "is_first")]
    pub turn: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_first(turn: &u32) -> bool {
    *turn == 0
}

impl VolumeId {
    /// The first root disk of a VM.
    #[must_use]
    pub const fn root(vm: VmId) -> Self {
        Self { vm, role: DiskRole::Root, turn: 0 }
    }
    /// The data disk of a VM.
    #[must_use]
    pub const fn data(vm: VmId) -> Self {
        Self { vm, role: DiskRole::Data, turn: 0 }
    }
    /// The one of another turn.
    #[must_use]
    pub const fn at(self, turn: u32) -> Self {
        Self { turn, ..self }
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
