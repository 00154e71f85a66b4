//! Which bridges there are, and which addresses are behind which of them.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::error::BridgeError;
use crate::error::Result;
use crate::types::{AddressPool, IfName, Ipv4Cidr, names};

/// A bridge of the kernel has 1,023 ports; a round number of them are for guests.
pub(super) const MOST_PORTS: u32 = 1_000;
/// What no operator can open to guests: themselves, this host, metadata, and what is no host's address.
const NEVER: [&str; 5] = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"];

/// What the bridges are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// The first bridge's subnet; the next one's follows upon it. Its first address is the host's.
    pub subnet: Ipv4Cidr,
    /// What the bridges' names begin with; their number follows.
    pub bridge: String,
    /// How many bridges there are. Each holds 1,000 guests, or as many as its subnet does.
    pub shards: u32,
    /// What guests resolve names with.
    pub resolvers: Vec<Ipv4Addr>,
    /// Private ranges that guests may reach all the same.
    pub open: Vec<Ipv4Cidr>,
    /// Connections that one guest may have at a time, those to resolvers among them.
    pub flows: u32,
    /// The program `nft`.
    pub nft: PathBuf,
}

impl BridgeConfig {
    /// One bridge `br0` with 10.0.0.1/16, public resolvers, nothing private open, 16,384 connections for each guest.
    pub fn new(nft: PathBuf) -> Result<Self> {
        Ok(Self {
            subnet: Ipv4Cidr::new(Ipv4Addr::new(10, 0, 0, 0), 16)?,
            bridge: "br".to_owned(),
            shards: 1,
            resolvers: vec![Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 8, 8)],
            open: Vec::new(),
            flows: 16_384,
            nft,
        })
    }

    /// What would never work.
    pub(super) fn check(&self) -> Result<(), BridgeError> {
        let bad = |text: String| Err(BridgeError::Config(text));
        let (subnet, prefix) = (self.subnet, self.subnet.prefix());
        if !(8..=28).contains(&prefix) {
            return bad(format!("the subnet {subnet} has no prefix of 8 to 28 bits"));
        }
        if !(1..=256).contains(&self.shards)
            || u64::from(u32::from(subnet.first())) + self.size() * u64::from(self.shards) > 1 << 32
        {
            return bad(format!(
                "{} bridges from {subnet} on are none, more than 256, or beyond the last address",
                self.shards
            ));
        }
        for never in never() {
            for shard in 0..self.shards {
                if self.subnet_of(shard).is_ok_and(|subnet| overlap(subnet, never)) {
                    return bad(format!("guests cannot have addresses of {never}"));
                }
            }
            if let Some(open) = self.open.iter().find(|open| overlap(**open, never)) {
                return bad(format!("{open} cannot be opened to guests: {never} never is"));
            }
        }
        for shard in 0..self.shards {
            let subnet = self.subnet_of(shard)?;
            if let Some(open) = self.open.iter().find(|open| overlap(**open, subnet)) {
                return bad(format!("{open} cannot be opened to guests: {subnet} is theirs"));
            }
            if self.resolvers.iter().any(|resolver| subnet.contains(*resolver)) {
                return bad(format!("no resolver can be in {subnet}, which is the guests'"));
            }
        }
        let fits = (1..=8).contains(&self.bridge.len())
            && self.bridge.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !fits || self.bridge.starts_with(names::PREFIX) {
            return bad(
                "a bridge's name begins with 1 to 8 lower-case letters, digits or hyphens, and not as ports do"
                    .to_owned(),
            );
        }
        if self.resolvers.is_empty() || self.resolvers.len() > 3 {
            return bad("guests need one to three resolvers".to_owned());
        }
        if !(1..=1 << 20).contains(&self.flows) {
            return bad("a guest has 1 to 1,048,576 connections at a time".to_owned());
        }
        if !self.nft.is_absolute() {
            return bad("nft needs an absolute path".to_owned());
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        1u64 << (32 - u32::from(self.subnet.prefix()))
    }

    /// The subnet of a shard.
    pub(super) fn subnet_of(&self, shard: u32) -> Result<Ipv4Cidr, BridgeError> {
        let first = u64::from(u32::from(self.subnet.first())) + self.size() * u64::from(shard);
        u32::try_from(first)
            .ok()
            .and_then(|first| Ipv4Cidr::new(Ipv4Addr::from(first), self.subnet.prefix()).ok())
            .ok_or_else(|| BridgeError::Config(format!("there is no subnet for bridge {shard}")))
    }

    /// The host's own address on a shard.
    pub(super) fn gateway(&self, shard: u32) -> Result<Ipv4Addr, BridgeError> {
        Ok(Ipv4Addr::from(u32::from(self.subnet_of(shard)?.first()) + 1))
    }

    /// The addresses that guests of a shard get.
    pub(super) fn pool(&self, shard: u32) -> Result<AddressPool, BridgeError> {
        let subnet = self.subnet_of(shard)?;
        let first = u32::from(subnet.first()) + 2;
        // Not the last one, which is the broadcast address.
        let last = (u32::from(subnet.last()) - 1).min(first + MOST_PORTS - 1);
        Ok(AddressPool { first: Ipv4Addr::from(first), last: Ipv4Addr::from(last) })
    }

    pub(super) fn pools(&self) -> Vec<AddressPool> {
        (0..self.shards).filter_map(|shard| self.pool(shard).ok()).collect()
    }

    /// Which shard a guest's address belongs to.
    pub(super) fn shard_of(&self, ip: Ipv4Addr) -> Result<u32, BridgeError> {
        let outside = || BridgeError::OutsidePool(ip);
        let offset = u32::from(ip).checked_sub(u32::from(self.subnet.first())).ok_or_else(outside)?;
        let shard = u32::try_from(u64::from(offset) / self.size()).map_err(|_| outside())?;
        match shard < self.shards && self.pool(shard)?.contains(ip) {
            true => Ok(shard),
            false => Err(outside()),
        }
    }

    /// The bridge of a shard.
    pub(super) fn bridge(&self, shard: u32) -> IfName {
        names::bridge(&self.bridge, shard)
    }

    /// The bridge's own link address: never a guest's, whose first byte is 02, and the same after each start.
    pub(super) fn bridge_mac(shard: u32) -> [u8; 6] {
        let [_, _, high, low] = shard.to_be_bytes();
        [0x06, b'm', b'n', 0, high, low]
    }
}

pub(super) fn never() -> impl Iterator<Item = Ipv4Cidr> {
    NEVER.iter().filter_map(|text| text.parse().ok())
}

pub(super) fn overlap(one: Ipv4Cidr, other: Ipv4Cidr) -> bool {
    one.contains(other.first()) || other.contains(one.first())
}

/// The same addresses as ranges that do not overlap, in order: a set of the firewall takes no others.
pub(super) fn merged(list: &[Ipv4Cidr]) -> Vec<Ipv4Cidr> {
    let mut sorted = list.to_vec();
    // The larger of two that begin alike comes first.
    sorted.sort_unstable_by_key(|cidr| (cidr.first(), cidr.prefix()));
    let mut kept: Vec<Ipv4Cidr> = Vec::new();
    for cidr in sorted {
        if !kept.last().is_some_and(|last| last.contains(cidr.first())) {
            kept.push(cidr);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnet: &str, shards: u32) -> BridgeConfig {
        let usual = BridgeConfig::new("/usr/sbin/nft".into()).unwrap();
        BridgeConfig { subnet: subnet.parse().unwrap(), shards, ..usual }
    }

    fn range(text: &str) -> Ipv4Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_bridge_is_br0_with_10_0_0_1_and_each_holds_a_thousand() {
        let config = config("10.0.0.0/16", 3);
        config.check().unwrap();
        assert_eq!(config.bridge(0).as_str(), "br0");
        assert_eq!(config.gateway(0).unwrap(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!((config.bridge(2).as_str(), config.gateway(2).unwrap()), ("br2", Ipv4Addr::new(10, 2, 0, 1)));
        for pool in config.pools() {
            assert_eq!(u32::from(pool.last) - u32::from(pool.first) + 1, MOST_PORTS);
        }
    }

    #[test]
    fn every_address_belongs_to_the_shard_whose_pool_and_subnet_it_is_in_and_to_no_other() {
        for (subnet, shards) in [("10.0.0.0/16", 4), ("192.168.0.0/28", 7), ("172.16.0.0/22", 3), ("10.64.0.0/20", 16)]
        {
            let config = config(subnet, shards);
            config.check().unwrap();
            let (pools, mut seen) = (config.pools(), 0);
            let first = u32::from(config.subnet.first());
            let end = first + u32::try_from(config.size()).unwrap() * shards;
            for number in (first - 300..end + 300).take(400_000) {
                let ip = Ipv4Addr::from(number);
                let of: Vec<usize> = (0..pools.len()).filter(|at| pools[*at].contains(ip)).collect();
                match config.shard_of(ip) {
                    Ok(shard) => {
                        seen += 1;
                        assert_eq!(of, [shard as usize], "{ip}");
                        let subnet = config.subnet_of(shard).unwrap();
                        assert!(subnet.contains(ip) && ip != subnet.first() && ip != subnet.last(), "{ip}");
                        assert_ne!(ip, config.gateway(shard).unwrap());
                    }
                    Err(_) => assert!(of.is_empty(), "{ip}"),
                }
            }
            assert!(seen > 0);
        }
    }

    #[test]
    fn bad_28_a_network_that_cannot_work_is_refused() {
        let usual = config("10.0.0.0/16", 1);
        let bad = [
            config("10.0.0.0/30", 1),
            config("10.0.0.0/16", 0),
            config("10.0.0.0/16", 257),
            config("239.0.0.0/16", 1),
            config("223.255.0.0/16", 2),
            config("169.254.0.0/16", 1),
            config("255.0.0.0/8", 2),
            config("126.0.0.0/8", 2),
            BridgeConfig { bridge: "bridge-too-long".to_owned(), ..usual.clone() },
            BridgeConfig { bridge: "mn".to_owned(), ..usual.clone() },
            BridgeConfig { bridge: "br/0".to_owned(), ..usual.clone() },
            BridgeConfig { bridge: "br\" }".to_owned(), ..usual.clone() },
            BridgeConfig { resolvers: Vec::new(), ..usual.clone() },
            BridgeConfig { resolvers: vec![Ipv4Addr::new(10, 0, 0, 1)], ..usual.clone() },
            BridgeConfig { open: vec![range("169.254.169.254")], ..usual.clone() },
            BridgeConfig { open: vec![range("10.0.0.0/8")], ..usual.clone() },
            BridgeConfig { open: vec![range("0.0.0.0/0")], ..usual.clone() },
            BridgeConfig { nft: "nft".into(), ..usual.clone() },
        ];
        for config in bad {
            assert!(config.check().is_err(), "{config:?}");
        }
        let open = vec![range("192.168.0.0/16"), range("10.1.0.0/16")];
        BridgeConfig { open, ..usual }.check().unwrap();
    }

    #[test]
    fn merged_ranges_are_the_same_addresses_and_never_overlap() {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for _ in 0..2_000 {
            let list: Vec<Ipv4Cidr> = (0..next() % 12)
                .map(|_| {
                    let prefix = u8::try_from(24 + next() % 9).unwrap();
                    let low = u32::try_from(next() % 512).unwrap() & (u32::MAX << (32 - prefix));
                    Ipv4Cidr::new(Ipv4Addr::from(0x0a00_0000 + low), prefix).unwrap()
                })
                .collect();
            let merged = merged(&list);
            for (at, one) in merged.iter().enumerate() {
                assert!(merged[at + 1..].iter().all(|other| !overlap(*one, *other)), "{list:?}");
            }
            for low in 0..512 {
                let ip = Ipv4Addr::from(0x0a00_0000 + low);
                let within = |list: &[Ipv4Cidr]| list.iter().any(|cidr| cidr.contains(ip));
                assert_eq!(within(&list), within(&merged), "{ip} of {list:?}");
            }
        }
    }

    #[test]
    fn a_bridges_own_link_address_is_no_guests() {
        for shard in [0, 1, 255, 65_535] {
            let mac = BridgeConfig::bridge_mac(shard);
            assert_eq!(mac[0] & 3, 2, "local and unicast");
            assert_ne!(mac[0], crate::types::MacAddr::local(u64::MAX).octets()[0]);
        }
    }
}
