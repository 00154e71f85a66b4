use std::net::Ipv4Addr;
use std::path::Path;

use super::error::UserError;
use crate::host::files;
use crate::types::MacAddr;

/// What is kept of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortRecord {
    pub ip: Ipv4Addr,
    pub mac: MacAddr,
}

impl PortRecord {
    pub fn read(path: &Path) -> Result<Self, UserError> {
        let text = std::fs::read(path).map_err(|source| UserError::Io { what: "read a port", source })?;
        serde_json::from_slice(&text).map_err(|_| UserError::Broken { path: path.display().to_string() })
    }

    pub fn write(&self, path: &Path) -> Result<(), UserError> {
        let text = serde_json::to_vec(self).map_err(|_| UserError::Broken { path: path.display().to_string() })?;
        files::replace(path, &text, 0o600).map_err(|source| UserError::Io { what: "write a port", source })
    }
}
