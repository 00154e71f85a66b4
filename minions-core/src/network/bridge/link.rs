//! rtnetlink: what is asked of interfaces, addresses, neighbours and routes, and what is read of them.

use std::net::Ipv4Addr;

use super::wire::{Message, Nest, attrs, find, text, u32_at};
use crate::types::MacAddr;

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;

const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;
const AF_INET6: u16 = 10;

const IFF_UP: u32 = 1;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_EXT_MASK: u16 = 29;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_DATA: u16 = 5;
const INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
const BR_STP_STATE: u16 = 5;
const BR_MCAST_SNOOPING: u16 = 23;
const BRPORT_LEARNING: u16 = 8;
const BRPORT_UNICAST_FLOOD: u16 = 9;
const BRPORT_MCAST_FLOOD: u16 = 27;
const BRPORT_BCAST_FLOOD: u16 = 30;
const BRPORT_NEIGH_SUPPRESS: u16 = 32;
const BRPORT_ISOLATED: u16 = 33;
/// Without counters, which take most of the room.
const SKIP_STATS: u32 = 1 << 3;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_MASTER: u8 = 4;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// An interface as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub label: String,
    pub kind: String,
    pub up: bool,
    pub master: Option<u32>,
    pub mac: Vec<u8>,
    /// As the port of a bridge: whether it reaches no other such port.
    pub isolated: bool,
    /// As the port of a bridge: whether addresses are learned from what it sends.
    pub learning: bool,
}

impl Link {
    pub fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(16..)?;
        let mut link = Self { index: u32_at(body, 4)?, up: u32_at(body, 8)? & IFF_UP != 0, ..Self::default() };
        for (kind, value) in attrs(attributes) {
            match kind {
                IFLA_IFNAME => link.name = text(value)?.to_owned(),
                // Another's label need not be text.
                IFLA_IFALIAS => link.label = text(value).unwrap_or_default().to_owned(),
                IFLA_MASTER => link.master = u32_at(value, 0),
                IFLA_ADDRESS => link.mac = value.to_vec(),
                IFLA_LINKINFO => {
                    link.kind = find(value, INFO_KIND).and_then(text).unwrap_or_default().to_owned();
                    let port = find(value, INFO_SLAVE_DATA).unwrap_or_default();
                    let flag = |kind| find(port, kind).is_some_and(|value| value == [1]);
                    (link.isolated, link.learning) = (flag(BRPORT_ISOLATED), flag(BRPORT_LEARNING));
                }
                _ => {}
            }
        }
        Some(link)
    }
}

fn info(family: u8, index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![family, 0, 0, 0];
    header.extend(index.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header.extend(change.to_ne_bytes());
    header
}

pub(super) fn get(name: &str) -> Message {
    Message::new(GETLINK, 0, &info(0, 0, 0, 0)).text(IFLA_IFNAME, name).u32(IFLA_EXT_MASK, SKIP_STATS)
}

/// To list every interface of a kind. Older kernels list all of them.
pub(super) fn get_kind(kind: &str) -> Message {
    let info_kind = Nest::default().text(INFO_KIND, kind);
    Message::new(GETLINK, 0, &info(0, 0, 0, 0)).u32(IFLA_EXT_MASK, SKIP_STATS).nest(IFLA_LINKINFO, &info_kind)
}

/// Makes a bridge, down. Refused where the name is taken.
pub(super) fn make_bridge(name: &str, mac: [u8; 6]) -> Message {
    // No tree protocol, and no querier: what guests say of multicast is dropped anyway.
    let data = Nest::default().attr(BR_STP_STATE, &0u32.to_ne_bytes()).attr(BR_MCAST_SNOOPING, &[0]);
    let kind = Nest::default().text(INFO_KIND, "bridge").nest(INFO_DATA, &data);
    let request = Message::new(NEWLINK, CREATE | EXCLUSIVE, &info(0, 0, 0, 0));
    request.text(IFLA_IFNAME, name).attr(IFLA_ADDRESS, &mac).nest(IFLA_LINKINFO, &kind)
}

pub(super) fn label(index: u32, label: &str) -> Message {
    Message::new(SETLINK, 0, &info(0, index, 0, 0)).text(IFLA_IFALIAS, label)
}

pub(super) fn down(index: u32) -> Message {
    Message::new(SETLINK, 0, &info(0, index, 0, IFF_UP))
}

pub(super) fn up(index: u32) -> Message {
    Message::new(SETLINK, 0, &info(0, index, IFF_UP, IFF_UP))
}

/// Becomes a port of a bridge, with its label. `ipv6`: whether this kernel has it, and must be told to give the port no
/// address of its own.
pub(super) fn join(index: u32, bridge: u32, text: &str, ipv6: bool) -> Message {
    let message = Message::new(SETLINK, 0, &info(0, index, 0, 0)).text(IFLA_IFALIAS, text).u32(IFLA_MASTER, bridge);
    if !ipv6 {
        return message;
    }
    let mode = Nest::default().attr(INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE]);
    message.nest(IFLA_AF_SPEC, &Nest::default().nest(AF_INET6, &mode))
}

/// As the port of a bridge it reaches none but the host, teaches it nothing, and gets only what is for it.
pub(super) fn fence(index: u32) -> Message {
    let flags = [
        (BRPORT_ISOLATED, 1),
        (BRPORT_LEARNING, 0),
        (BRPORT_UNICAST_FLOOD, 0),
        (BRPORT_MCAST_FLOOD, 0),
        (BRPORT_BCAST_FLOOD, 0),
        (BRPORT_NEIGH_SUPPRESS, 1),
    ];
    let nest = flags.iter().fold(Nest::default(), |nest, (kind, value)| nest.attr(*kind, &[*value]));
    Message::new(SETLINK, 0, &info(AF_BRIDGE, index, 0, 0)).nest(IFLA_PROTINFO, &nest)
}

pub(super) fn group(index: u32, group: u32) -> Message {
    Message::new(SETLINK, 0, &info(0, index, 0, 0)).u32(IFLA_GROUP, group)
}

pub(super) fn delete(index: u32) -> Message {
    Message::new(DELLINK, 0, &info(0, index, 0, 0))
}

/// All of a group at once: the kernel waits once, and not once each.
pub(super) fn delete_group(group: u32) -> Message {
    Message::new(DELLINK, 0, &info(0, 0, 0, 0)).u32(IFLA_GROUP, group)
}

fn neighbour(family: u8, index: u32, state: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![family, 0, 0, 0];
    header.extend(index.to_ne_bytes());
    header.extend(state.to_ne_bytes());
    header.extend([flags, 0]);
    header
}

/// Behind which port of its bridge a link address is.
pub(super) fn behind(port: u32, mac: MacAddr) -> Message {
    let header = neighbour(AF_BRIDGE, port, NUD_NOARP, NTF_MASTER);
    Message::new(NEWNEIGH, CREATE | REPLACE, &header).attr(NDA_LLADDR, &mac.octets())
}

/// Which link address an address has: the host never asks.
pub(super) fn known(bridge: u32, ip: Ipv4Addr, mac: MacAddr) -> Message {
    let header = neighbour(AF_INET, bridge, NUD_PERMANENT, 0);
    Message::new(NEWNEIGH, CREATE | REPLACE, &header).ip(NDA_DST, ip).attr(NDA_LLADDR, &mac.octets())
}

pub(super) fn unknown(bridge: u32, ip: Ipv4Addr) -> Message {
    Message::new(DELNEIGH, 0, &neighbour(AF_INET, bridge, 0, 0)).ip(NDA_DST, ip)
}

pub(super) fn add_address(index: u32, ip: Ipv4Addr, prefix: u8) -> Message {
    let mut header = vec![AF_INET, prefix, 0, 0];
    header.extend(index.to_ne_bytes());
    Message::new(NEWADDR, CREATE | REPLACE, &header).ip(IFA_LOCAL, ip).ip(IFA_ADDRESS, ip)
}

pub(super) fn addresses() -> Message {
    Message::new(GETADDR, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0])
}

/// An address of an interface: whose, which, and the length of its prefix.
pub(super) fn read_address(body: &[u8]) -> Option<(u32, Ipv4Addr, u8)> {
    let ip = find(body.get(8..)?, IFA_LOCAL).and_then(ipv4)?;
    Some((u32_at(body, 4)?, ip, *body.get(1)?))
}

pub(super) fn routes() -> Message {
    Message::new(GETROUTE, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// A route that packets may take: over which interface, whereto, and the length of the prefix.
pub(super) fn read_route(body: &[u8]) -> Option<(u32, Ipv4Addr, u8)> {
    const RTA_DST: u16 = 1;
    const RTA_OIF: u16 = 4;
    const UNICAST: u8 = 1;
    let attributes = body.get(12..)?;
    if body.get(7) != Some(&UNICAST) {
        return None;
    }
    let to = find(attributes, RTA_DST).and_then(ipv4).unwrap_or(Ipv4Addr::UNSPECIFIED);
    Some((find(attributes, RTA_OIF).and_then(|value| u32_at(value, 0))?, to, *body.get(1)?))
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}
