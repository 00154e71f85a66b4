//! VMs on the wire.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::types::{
    BootMark, ByteSize, Fences, Generation, ImageId, Ipv4Cidr, NewVmName, PortPolicy, StateReason, UnixMillis, Vcpus,
    VmId, VmName, VmState,
};

/// Asks for a new VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// Its name: 1 to 40 lower-case letters, digits and hyphens, beginning with a letter.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: NewVmName,
    /// An image's tag, its id or the first eight or more digits of it; the service's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub cpus: Option<Vcpus>,
    /// Memory, in bytes; every host has a least, which its refusal names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub memory: Option<ByteSize>,
    /// Root disk, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub disk: Option<ByteSize>,
    /// Data disk, in bytes; at least 16 MiB, or 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub data_disk: Option<ByteSize>,
    /// Takes over the data disk that a destroyed VM left: that VM's id, as the list of disks tells it. `data_disk` may make
    /// it larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub data_from: Option<VmId>,
    /// The only ranges of addresses that it may send to; none of them reaches what is closed to every guest. Everything
    /// public where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub egress: Option<Vec<Ipv4Cidr>>,
    /// The most that its network carries each way, in bytes a second; at least 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub rate: Option<ByteSize>,
    /// Whose it shall be; the caller's where absent. Admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Anybody may reach its web name; its owner and whom they name where absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// The TCP port that its web name leads to; found among those that listen where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl CreateVm {
    /// One of this name, with all else as the image and the service say.
    #[must_use]
    pub fn named(name: NewVmName) -> Self {
        Self {
            name,
            image: None,
            cpus: None,
            memory: None,
            disk: None,
            data_disk: None,
            data_from: None,
            egress: None,
            rate: None,
            owner: None,
            public: false,
            port: None,
        }
    }
}

/// Asks for a stopped VM to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StartVm {}

/// Asks for a VM to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StopVm {
    /// End it at once, without asking the guest.
    #[serde(default)]
    pub force: bool,
    /// How long the guest has, in milliseconds; 30,000 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// Asks for a VM to stop and start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RestartVm {}

/// Asks for a VM to be destroyed, its disks with it, or without its data disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DestroyVm {
    /// The data disk stays, for another VM to take over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_data: bool,
}

/// Asks for a new root disk from an image; the data disk stays as it is. A VM that runs is started anew with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RebaseVm {
    /// An image's tag, its id or the first eight or more digits of it; the newest of the tag that it has now where absent,
    /// or the same image where that has no tag any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Asks for a data disk to go that a destroyed VM left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeleteDisk {}

/// A data disk that a destroyed VM left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Disk {
    /// The VM that it was made for.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: VmId,
    /// The name that this VM had.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: VmName,
    /// Whose it is.
    pub owner: String,
    /// In bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub size: ByteSize,
    /// When it was left.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub since: UnixMillis,
}

/// A page of data disks that destroyed VMs left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskPage {
    /// The disks.
    pub disks: Vec<Disk>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which disks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub struct ListDisks {
    /// At most this many, 1 to 200; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The cursor of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Asks for another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameVm {
    /// The new one.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: NewVmName,
}

/// Asks for another port behind a VM's web name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExposeVm {
    /// The TCP port, not 0; found among those that listen where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Asks for others to reach a VM's web name, or not any more. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ShareVm {
    /// Whether anybody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Users who may from now on, besides those who already do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Users who may no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// Who may reach a VM through the front doors besides its owner, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Access {
    /// The TCP port that its web name leads to; found among those that listen where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Anybody may.
    #[serde(default)]
    pub public: bool,
    /// These users may, after they have logged in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<String>,
}

/// Asks for another size. Processors and memory hold from the next start on; a disk grows at once where the guest runs on a
/// host that can show it, else with the next start. It never shrinks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResizeVm {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub cpus: Option<Vcpus>,
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub memory: Option<ByteSize>,
    /// Root disk, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub disk: Option<ByteSize>,
    /// Data disk, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub data_disk: Option<ByteSize>,
}

/// Which VMs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub struct ListVms {
    /// At most this many, 1 to 200; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The cursor of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Tombstones too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
}

/// What a VM has now, whatever it shall have from its next start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunningSize {
    /// Processors.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub cpus: Vcpus,
    /// Memory, in bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub memory: ByteSize,
}

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Vm {
    /// Never reused.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: VmId,
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: VmName,
    /// Whose it is.
    pub owner: String,
    /// What it is doing.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub state: VmState,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub reason: Option<StateReason>,
    /// Since when, in milliseconds since 1970.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub since: UnixMillis,
    /// When something last moved on the way to the goal.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub last_progress: UnixMillis,
    /// What was asked: `running`, `stopped` or `absent`.
    pub goal: String,
    /// Rises with every change of what was asked.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub generation: Generation,
    /// Rises with every start and restart.
    #[serde(default)]
    pub epoch: u64,
    /// Who may reach it besides its owner, and where.
    #[serde(default)]
    pub access: Access,
    /// Its image.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub image: ImageId,
    /// Processors that it shall have; see `running`.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub cpus: Vcpus,
    /// Memory that it shall have, in bytes; see `running`.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub memory: ByteSize,
    /// Root disk, in bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub disk: ByteSize,
    /// Data disk, in bytes; 0 for none.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub data_disk: ByteSize,
    /// What its monitor was started with, where one is alive: after a resize that is not what was asked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningSize>,
    /// Whose data disk it has taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub data_from: Option<VmId>,
    /// Where its network lets it send to, and how much, where that is not everything public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub policy: Option<PortPolicy>,
    /// What keeps its monitor apart from the host, where one is alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub fences: Option<Fences>,
    /// Its address inside the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip: Option<Ipv4Addr>,
    /// How often its monitor was started again because it had died.
    #[serde(default)]
    pub restarts: u32,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub created: UnixMillis,
    /// When it was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub deleted: Option<UnixMillis>,
    /// What took how long on the way to the last goal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub timings: Vec<BootMark>,
}

/// A page of VMs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmPage {
    /// The VMs.
    pub vms: Vec<Vm>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
