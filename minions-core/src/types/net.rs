//! Addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A VSOCK context id. Below 3 are the hypervisor, the loopback and the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Cid(u32);

impl Cid {
    /// The lowest that a guest may have.
    pub const FIRST: Cid = Cid(3);

    /// Refuses the reserved ones.
    pub fn new(value: u32) -> Result<Self> {
        if value < 3 || value == u32::MAX {
            return Err(Error::invalid("cid", "a guest's VSOCK context id is at least 3"));
        }
        Ok(Self(value))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Cid {
    type Error = Error;
    fn try_from(value: u32) -> Result<Self> {
        Self::new(value)
    }
}

impl From<Cid> for u32 {
    fn from(cid: Cid) -> u32 {
        cid.0
    }
}

/// A unicast, locally administered MAC address. Text `02:…` in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// From the low 40 bits, under the prefix `02`.
    #[must_use]
    pub const fn local(bits: u64) -> Self {
        let [_, _, _, a, b, c, d, e] = bits.to_be_bytes();
        Self([0x02, a, b, c, d, e])
    }

    /// The six bytes.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("mac", "a MAC address has six pairs of hexadecimal digits");
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() || bytes[0] & 3 != 2 {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

impl serde::Serialize for MacAddr {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for MacAddr {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of a network interface: at most 15 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct IfName(String);

impl IfName {
    /// Longest name that the kernel takes.
    pub const MAX_LEN: usize = 15;

    pub(crate) fn from_short(prefix: &str, short: &str) -> Self {
        let mut name = format!("{prefix}{short}");
        name.truncate(Self::MAX_LEN);
        Self(name)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A range of IPv4 addresses: `10.1.0.0/16`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Cidr {
    first: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Cidr {
    /// The range of an address and the length of its prefix. Bits behind the prefix must be zero.
    pub fn new(first: Ipv4Addr, prefix: u8) -> Result<Self> {
        let bad = |text: String| Err(Error::invalid("cidr", text));
        if prefix > 32 {
            return bad(format!("a prefix has at most 32 bits, not {prefix}"));
        }
        let range = Self { first, prefix };
        if u32::from(first) & !range.mask() != 0 {
            let meant = Ipv4Addr::from(u32::from(first) & range.mask());
            return bad(format!("{first}/{prefix} has bits behind its prefix; {meant}/{prefix} may be meant"));
        }
        Ok(range)
    }

    const fn mask(self) -> u32 {
        if self.prefix == 0 { 0 } else { u32::MAX << (32 - self.prefix) }
    }

    /// Its first address.
    #[must_use]
    pub const fn first(self) -> Ipv4Addr {
        self.first
    }

    /// Its last address.
    #[must_use]
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) | !self.mask())
    }

    /// The length of its prefix.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        u32::from(ip) & self.mask() == u32::from(self.first)
    }
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ipv4Cidr {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("cidr", "a range of addresses looks like 10.1.0.0/16 or 203.0.113.7");
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, prefix.parse().map_err(|_| bad())?),
            None => (text, 32),
        };
        Self::new(ip.parse().map_err(|_| bad())?, prefix)
    }
}

impl serde::Serialize for Ipv4Cidr {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Ipv4Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a guest may send to, where its network keeps it apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// The internet: neither private ranges, nor metadata addresses, nor mail servers.
    #[default]
    Public,
    /// Nothing but these, and of them nothing that [`Public`](Self::Public) forbids.
    Only(Vec<Ipv4Cidr>),
}

/// The most that a port carries, each way, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RateLimit(pub u64);

/// What a port lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct PortPolicy {
    /// Where the guest may send to.
    #[serde(default)]
    pub egress: Egress,
    /// How much of it; `None` as much as goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateLimit>,
}

/// Addresses that guests get theirs from, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct AddressPool {
    /// The first one.
    pub first: Ipv4Addr,
    /// The last one.
    pub last: Ipv4Addr,
}

impl AddressPool {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&ip)
    }
}

/// What a guest is told about its network.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GuestNet {
    /// Its address.
    pub ip: Ipv4Addr,
    /// The length of its subnet's prefix.
    pub prefix: u8,
    /// Its way out.
    pub gateway: Ipv4Addr,
    /// Its resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// Its link address.
    pub mac: MacAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_reads_back_and_is_local_unicast() {
        let mac = MacAddr::local(0x00de_adbe_ef01);
        assert_eq!(mac.to_string().parse::<MacAddr>().unwrap(), mac);
        assert!("01:00:5e:00:00:01".parse::<MacAddr>().is_err());
        assert!("02:00:5e:00:00:01:02".parse::<MacAddr>().is_err());
    }

    #[test]
    fn a_range_knows_its_ends_and_refuses_stray_bits() {
        let range: Ipv4Cidr = "10.1.0.0/16".parse().unwrap();
        assert_eq!((range.first(), range.last()), (Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::new(10, 1, 255, 255)));
        assert!(range.contains(Ipv4Addr::new(10, 1, 2, 3)) && !range.contains(Ipv4Addr::new(10, 2, 0, 0)));
        assert_eq!("203.0.113.7".parse::<Ipv4Cidr>().unwrap().to_string(), "203.0.113.7/32");
        let all: Ipv4Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::BROADCAST) && all.last() == Ipv4Addr::BROADCAST);
        for bad in ["10.1.0.1/16", "10.1.0.0/33", "10.1.0/16", "", "10.1.0.0/-1", "::/0"] {
            assert!(bad.parse::<Ipv4Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_context_ids_are_refused() {
        for reserved in [0, 1, 2, u32::MAX] {
            assert!(Cid::new(reserved).is_err(), "{reserved}");
        }
    }
}
