//! The host on the wire.

use serde::{Deserialize, Serialize};

use crate::types::ByteSize;

/// What the service runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostStatus {
    /// Its hypervisor and the version of what that drives.
    pub hypervisor: String,
    /// Its storage.
    pub storage: String,
    /// Its network.
    pub network: String,
    /// Its road into guests.
    pub guest: String,
    /// Whether guests are kept from the host and each other.
    pub isolated: bool,
    /// Whether guests run on the processor rather than in emulation.
    pub accelerated: bool,
    /// Whether the machines are simulated.
    pub simulated: bool,
    /// VMs on it.
    pub vms: u64,
    /// Volumes that nobody could explain; above 0 something is wrong.
    pub quarantined: u64,
    /// Bytes of its storage.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub storage_total: ByteSize,
    /// Bytes used of it.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub storage_used: ByteSize,
    /// Bytes of what the storage keeps its books in, where that has room of its own and can fill up too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub storage_metadata_total: Option<ByteSize>,
    /// Bytes used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub storage_metadata_used: Option<ByteSize>,
}

/// Which version answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionInfo {
    /// Of the daemon.
    pub version: String,
    /// Of the API.
    pub api: String,
}
