//! VMs on the wire.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::types::{
    BootMark, ByteSize, Generation, ImageId, NewVmName, StateReason, UnixMillis, Vcpus, VmId, VmName, VmState,
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

/// Asks for a VM to be destroyed, its disks with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DestroyVm {}

/// Asks for another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameVm {
    /// The new one.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: NewVmName,
}

/// Asks for another size, which holds from the next start on.
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
