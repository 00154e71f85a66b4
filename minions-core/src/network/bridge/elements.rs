//! Elements of the firewall's sets, by nfnetlink: each port's own, and nothing else of the ruleset.

use std::net::Ipv4Addr;

use super::record::Pin;
use super::wire::{Message, Nest, attrs, find, text};
use crate::types::{IfName, MacAddr};

/// The table's name, in the family `bridge` and in the family `inet`.
pub(super) const TABLE: &str = "minions";

const SUBSYSTEM: u16 = 10 << 8;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const CREATE: u16 = 0x400;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const USERDATA: u16 = 6;
const EXPRESSION: u16 = 7;
const KEY_END: u16 = 10;
const VALUE: u16 = 1;
/// In the userdata of an element: its comment.
const COMMENT: u8 = 0;

/// A set of ours that has elements per port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Set {
    /// bridge: the interfaces that are ports.
    Ports,
    /// bridge: interface and link address.
    Mac,
    /// bridge: interface, link address and address.
    Ip4,
    /// bridge: how fast a port may send.
    RateUp,
    /// bridge: how fast a port may be sent to.
    RateDown,
    /// inet: addresses that reach only what `Allow` says.
    Only,
    /// inet: from an address to a range of addresses.
    Allow,
}

impl Set {
    /// Those that have at most one element of a port, under a key that follows from its addresses.
    pub const KEYED: [Self; 6] = [Self::Ports, Self::Mac, Self::Ip4, Self::RateUp, Self::RateDown, Self::Only];
    /// Without which a port is not pinned.
    pub const PIN: [Self; 3] = [Self::Ports, Self::Mac, Self::Ip4];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Mac => "mac",
            Self::Ip4 => "ip4",
            Self::RateUp => "rate_up",
            Self::RateDown => "rate_down",
            Self::Only => "only",
            Self::Allow => "allow",
        }
    }

    const fn family(self) -> u8 {
        match self {
            Self::Ports | Self::Mac | Self::Ip4 | Self::RateUp | Self::RateDown => 7,
            Self::Only | Self::Allow => 1,
        }
    }

    /// The key of a port's one element.
    pub fn key(self, tap: &IfName, pin: &Pin) -> Vec<u8> {
        match self {
            Self::Ports | Self::RateUp | Self::RateDown => interface(tap),
            Self::Mac => [interface(tap), link_address(pin.mac)].concat(),
            Self::Ip4 => [interface(tap), link_address(pin.mac), address(pin.ip)].concat(),
            Self::Only | Self::Allow => address(pin.ip),
        }
    }
}

/// Each part of a key takes whole words of four bytes.
fn interface(name: &IfName) -> Vec<u8> {
    let mut bytes = name.as_str().as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn link_address(mac: MacAddr) -> Vec<u8> {
    let mut bytes = mac.octets().to_vec();
    bytes.resize(8, 0);
    bytes
}

fn address(ip: Ipv4Addr) -> Vec<u8> {
    ip.octets().to_vec()
}

/// The key of a range that an address may reach, and its end.
pub(super) fn way(from: Ipv4Addr, first: Ipv4Addr, last: Ipv4Addr) -> (Vec<u8>, Vec<u8>) {
    ([address(from), address(first)].concat(), [address(from), address(last)].concat())
}

/// An element as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub key: Vec<u8>,
    pub end: Option<Vec<u8>>,
    pub pin: Option<Pin>,
}

/// Something to add to a set.
#[derive(Clone, Debug)]
pub(super) struct Addition {
    pub set: Set,
    pub key: Vec<u8>,
    pub end: Option<Vec<u8>>,
    pub pin: Pin,
    /// More bytes in a second than this are too many, and more at once.
    pub limit: Option<(u64, u32)>,
}

impl Addition {
    pub fn keyed(set: Set, tap: &IfName, pin: &Pin) -> Self {
        Self { set, key: set.key(tap, pin), end: None, pin: *pin, limit: None }
    }

    /// Adds it; Ok where it is there.
    pub fn message(&self) -> Message {
        let mut nest = keys(&self.key, self.end.as_deref());
        let mut comment = self.pin.comment().into_bytes();
        comment.push(0);
        let mut userdata = vec![COMMENT, u8::try_from(comment.len()).unwrap_or(u8::MAX)];
        userdata.append(&mut comment);
        nest = nest.attr(USERDATA, &userdata);
        if let Some((rate, burst)) = self.limit {
            nest = nest.nest(EXPRESSION, &limit(rate, burst));
        }
        message(NEWSETELEM, CREATE, self.set, &nest)
    }
}

/// `limit rate over RATE bytes/second burst BURST bytes`.
fn limit(rate: u64, burst: u32) -> Nest {
    const SECOND: u64 = 1;
    const BYTES: u32 = 1;
    const OVER: u32 = 1;
    let inside = Nest::default()
        .attr(1, &rate.to_be_bytes())
        .attr(2, &SECOND.to_be_bytes())
        .attr(3, &burst.to_be_bytes())
        .attr(4, &BYTES.to_be_bytes())
        .attr(5, &OVER.to_be_bytes());
    Nest::default().text(1, "limit").nest(2, &inside)
}

fn keys(key: &[u8], end: Option<&[u8]>) -> Nest {
    let value = |bytes: &[u8]| Nest::default().attr(VALUE, bytes);
    let nest = Nest::default().nest(KEY, &value(key));
    match end {
        Some(end) => nest.nest(KEY_END, &value(end)),
        None => nest,
    }
}

fn message(kind: u16, flags: u16, set: Set, element: &Nest) -> Message {
    let elements = Nest::default().nest(ELEMENT, element);
    addressed(kind, flags, set).nest(LIST_ELEMENTS, &elements)
}

fn addressed(kind: u16, flags: u16, set: Set) -> Message {
    let message = Message::new(SUBSYSTEM | kind, flags, &[set.family(), 0, 0, 0]);
    message.text(LIST_TABLE, TABLE).text(LIST_SET, set.name())
}

/// Removes an element; refused where it is not there.
pub(super) fn remove(set: Set, key: &[u8], end: Option<&[u8]>) -> Message {
    message(DELSETELEM, 0, set, &keys(key, end))
}

/// Asks whether an element is there.
pub(super) fn get(set: Set, key: &[u8]) -> Message {
    message(GETSETELEM, 0, set, &keys(key, None))
}

/// To list a set.
pub(super) fn list(set: Set) -> Message {
    addressed(GETSETELEM, 0, set)
}

/// The elements of a message of a list.
pub(super) fn read(body: &[u8]) -> Vec<Element> {
    let elements = body.get(4..).and_then(|attributes| find(attributes, LIST_ELEMENTS)).unwrap_or_default();
    let value = |element, kind| find(element, kind).and_then(|data| find(data, VALUE)).map(<[u8]>::to_vec);
    let read = |(_, element)| {
        let pin = find(element, USERDATA).and_then(comment).and_then(Pin::of_comment);
        Some(Element { key: value(element, KEY)?, end: value(element, KEY_END), pin })
    };
    attrs(elements).filter_map(read).collect()
}

fn comment(mut userdata: &[u8]) -> Option<&str> {
    while let [kind, len, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*len))?;
        if *kind == COMMENT {
            return text(value);
        }
        userdata = &rest[value.len()..];
    }
    None
}

/// What stands around a transaction.
pub(super) fn brackets() -> (Message, Message) {
    let header = [0, 0, 0, 10];
    (Message::new(BEGIN, 0, &header), Message::new(END, 0, &header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{VmId, names};

    fn pin() -> (IfName, Pin) {
        let id = VmId::from_bits(77);
        (names::tap(id), Pin { id, ip: Ipv4Addr::new(10, 0, 0, 9), mac: MacAddr::local(0x0102_0304) })
    }

    #[test]
    fn a_key_has_the_length_of_its_set_and_holds_every_part() {
        let (tap, pin) = pin();
        let lengths = [(Set::Ports, 16), (Set::Mac, 24), (Set::Ip4, 28), (Set::RateUp, 16), (Set::Only, 4)];
        for (set, length) in lengths {
            assert_eq!(set.key(&tap, &pin).len(), length, "{set:?}");
        }
        let key = Set::Ip4.key(&tap, &pin);
        assert!(key.starts_with(tap.as_str().as_bytes()));
        assert_eq!((&key[16..22], &key[24..]), (&pin.mac.octets()[..], &pin.ip.octets()[..]));
    }

    #[test]
    fn what_is_added_is_what_is_listed() {
        let (tap, pin) = pin();
        let mut bytes = Vec::new();
        Addition::keyed(Set::Mac, &tap, &pin).message().encode(&mut bytes, 0, 1);
        let reply = super::super::wire::replies(&bytes).next().unwrap();
        let element = Element { key: Set::Mac.key(&tap, &pin), end: None, pin: Some(pin) };
        assert_eq!(read(reply.body), [element]);
    }

    #[test]
    fn a_strangers_comment_and_one_that_is_cut_off_are_nobodys() {
        assert_eq!(comment(&[1, 2, 0, 0, 0, 3, b'h', b'i', 0]), Some("hi"));
        assert_eq!(comment(&[0, 9, b'h']), None);
        assert_eq!(comment(&[]), None);
    }
}
