//! What is written on a port itself, so that it survives the daemon: on the interface in full, on firewall elements in
//! short.

use std::net::Ipv4Addr;

use crate::network::PortConfig;
use crate::types::{Egress, MacAddr, PortPolicy, VmId};

/// What the label of everything of ours begins with.
const LABEL: &str = "minions";

/// Whose something is, and what it is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub id: VmId,
    pub ip: Ipv4Addr,
    pub mac: MacAddr,
}

impl Pin {
    pub fn of(config: &PortConfig) -> Self {
        Self { id: config.id, ip: config.ip, mac: config.mac }
    }

    /// The comment of an element.
    pub fn comment(&self) -> String {
        format!("{} {} {}", self.id, self.ip, self.mac)
    }

    pub fn of_comment(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (id, ip, mac) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { id, ip, mac })
    }
}

/// All of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub pin: Pin,
    pub uid: u32,
    /// Whether its way out is closed but for a list.
    pub only: bool,
    /// Whether it is held to a rate.
    pub rated: bool,
    /// Tells policies apart.
    pub policy: u64,
}

impl Record {
    pub fn of(config: &PortConfig) -> Self {
        let only = matches!(config.policy.egress, Egress::Only(_));
        let rated = config.policy.rate.is_some();
        Self { pin: Pin::of(config), uid: config.uid, only, rated, policy: fingerprint(&config.policy) }
    }

    /// The label of an interface.
    pub fn label(&self) -> String {
        let egress = if self.only { "only" } else { "public" };
        let rate = if self.rated { "rated" } else { "free" };
        format!("{LABEL} {} {} {egress} {rate} {:016x}", self.pin.comment(), self.uid, self.policy)
    }

    pub fn of_label(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [LABEL, id, ip, mac, uid, egress, rate, policy] = words[..] else { return None };
        let (only, rated) = match (egress, rate) {
            ("only", "rated") => (true, true),
            ("only", "free") => (true, false),
            ("public", "rated") => (false, true),
            ("public", "free") => (false, false),
            _ => return None,
        };
        let pin = Pin { id: id.parse().ok()?, ip: ip.parse().ok()?, mac: mac.parse().ok()? };
        Some(Self { pin, uid: uid.parse().ok()?, only, rated, policy: u64::from_str_radix(policy, 16).ok()? })
    }
}

/// The label of a bridge.
pub(super) const BRIDGE_LABEL: &str = "minions bridge";

/// FNV-1a: the same in every build, which a standard hasher does not promise.
fn fingerprint(policy: &PortPolicy) -> u64 {
    let mut bytes = Vec::new();
    match &policy.egress {
        Egress::Public => bytes.push(0),
        Egress::Only(list) => {
            bytes.push(1);
            for cidr in list {
                bytes.extend(cidr.to_string().bytes());
                bytes.push(b' ');
            }
        }
    }
    if let Some(rate) = policy.rate {
        bytes.extend(format!("{rate:?}").bytes());
    }
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_reads_back_and_fits_an_interface_and_a_strangers_label_is_none() {
        let pin = Pin { id: VmId::from_bits(u128::MAX), ip: Ipv4Addr::BROADCAST, mac: MacAddr::local(u64::MAX) };
        for (only, rated) in [(true, true), (true, false), (false, true), (false, false)] {
            let record = Record { pin, uid: u32::MAX, only, rated, policy: u64::MAX };
            assert!(record.label().len() < 255, "{}", record.label());
            assert_eq!(Record::of_label(&record.label()), Some(record));
        }
        assert!(pin.comment().len() < 127, "{}", pin.comment());
        assert_eq!(Pin::of_comment(&pin.comment()), Some(pin));
        for foreign in ["", "minions", BRIDGE_LABEL, "uplink", "minions vm_1 1.2.3.4 02:00:00:00:00:01 7 public free 0"]
        {
            assert_eq!(Record::of_label(foreign), None, "{foreign}");
        }
        assert_eq!(Pin::of_comment("vm_7 10.0.0.1"), None);
    }
}
