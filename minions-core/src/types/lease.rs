//! What a host lends to one VM, from its acceptance until its tombstone.

use std::fmt;
use std::net::Ipv4Addr;

use super::net::{Cid, MacAddr};

/// Reserved under UNIQUE constraints that count stopped VMs too.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lease {
    /// VSOCK context id.
    pub cid: Cid,
    /// Address.
    pub ip: Ipv4Addr,
    /// Link address.
    pub mac: MacAddr,
    /// The unprivileged user that its processes may run as.
    pub uid: u32,
    /// What host and agent prove themselves with.
    pub secret: AgentSecret,
}

/// 256 bits that only the host and root in the guest know. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentSecret([u8; 32]);

impl AgentSecret {
    /// From fresh randomness, or from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For the one place that hands it to the guest, and the one that proves it.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AgentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentSecret(…)")
    }
}

impl serde::Serialize for AgentSecret {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&hex)
    }
}

impl<'de> serde::Deserialize<'de> for AgentSecret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(from)?;
        if text.len() != 64 || !text.is_ascii() {
            return Err(D::Error::custom("a secret has 64 hexadecimal digits"));
        }
        let mut bytes = [0u8; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16)
                .map_err(|_| D::Error::custom("a secret has 64 hexadecimal digits"))?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = AgentSecret::from_bytes([0xab; 32]);
        assert!(!format!("{secret:?}").contains("ab"));
    }
}
