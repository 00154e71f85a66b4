//! Forgets the connections of an address, so that none reaches who has it next.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use super::error::BridgeError;
use super::socket::Socket;
use super::wire::{Message, Nest, attrs, find};

const WHAT: &str = "forget connections";
const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const IP_SOURCE: u16 = 1;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Of a tuple only its source counts.
const BY_SOURCE: u32 = 1;
/// Of every message about connections: the family, the version, a number.
const HEADER: usize = 4;

/// Forgets what a guest began, and what was begun towards it.
pub(super) fn forget(socket: &mut Socket, ips: &[Ipv4Addr]) -> Result<(), BridgeError> {
    let messages: Vec<Message> = ips
        .iter()
        .flat_map(|ip| [by_source(*ip, TUPLE_ORIGINAL, FILTER_ORIGINAL), by_source(*ip, TUPLE_REPLY, FILTER_REPLY)])
        .collect();
    for answer in socket.ask(&messages).map_err(BridgeError::io(WHAT))? {
        match answer.error {
            // None of them, or a kernel that tracks no connections.
            None | Some(Errno::NOENT | Errno::OPNOTSUPP) => {}
            // An older kernel forgets only what is named in full.
            Some(Errno::INVAL) => return forget_each(socket, ips),
            Some(error) => return Err(BridgeError::io(WHAT)(error.into())),
        }
    }
    Ok(())
}

/// The same where the kernel cannot choose: all connections are listed, and those of the addresses are forgotten one by one.
fn forget_each(socket: &mut Socket, ips: &[Ipv4Addr]) -> Result<(), BridgeError> {
    let listed = socket.dump(&about_connections(GET)).map_err(BridgeError::io(WHAT))?;
    let theirs: Vec<Message> = listed.iter().filter_map(|body| named_in_full(body, ips)).collect();
    for answer in socket.ask(&theirs).map_err(BridgeError::io(WHAT))? {
        match answer.error {
            None | Some(Errno::NOENT) => {}
            Some(error) => return Err(BridgeError::io(WHAT)(error.into())),
        }
    }
    Ok(())
}

/// What forgets a connection that was listed, where one of the addresses is at either of its ends.
fn named_in_full(body: &[u8], ips: &[Ipv4Addr]) -> Option<Message> {
    let all = body.get(HEADER..)?;
    let source = |tuple: u16| {
        let ip = find(find(find(all, tuple)?, TUPLE_IP)?, IP_SOURCE)?;
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?))
    };
    let ends = [source(TUPLE_ORIGINAL), source(TUPLE_REPLY)];
    if !ends.into_iter().flatten().any(|ip| ips.contains(&ip)) {
        return None;
    }
    let (_, tuple) = attrs(all).find(|(kind, _)| *kind == TUPLE_ORIGINAL)?;
    Some(about_connections(DELETE).nest(TUPLE_ORIGINAL, &Nest::raw(tuple)))
}

fn about_connections(kind: u16) -> Message {
    const AF_INET: u8 = 2;
    Message::new(kind, 0, &[AF_INET, 0, 0, 0])
}

fn by_source(ip: Ipv4Addr, tuple: u16, which: u16) -> Message {
    const AF_INET: u8 = 2;
    // Version 1: the family counts.
    let message = Message::new(DELETE, 0, &[AF_INET, 1, 0, 0]);
    let source = Nest::default().nest(TUPLE_IP, &Nest::default().attr(IP_SOURCE, &ip.octets()));
    let flags = Nest::default().attr(which, &BY_SOURCE.to_ne_bytes());
    message.nest(tuple, &source).nest(FILTER, &flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::bridge::wire::replies;

    const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn tuple(source: Ipv4Addr) -> Nest {
        Nest::default().nest(TUPLE_IP, &Nest::default().attr(IP_SOURCE, &source.octets()))
    }

    /// As the kernel lists it.
    fn listed(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let message = about_connections(0).nest(TUPLE_ORIGINAL, &tuple(from)).nest(TUPLE_REPLY, &tuple(to));
        let mut bytes = Vec::new();
        message.encode(&mut bytes, 0, 1);
        replies(&bytes).next().unwrap().body.to_vec()
    }

    #[test]
    fn a_connection_with_a_guest_at_either_end_is_forgotten_by_what_it_began_as() {
        for (from, to) in [(GUEST, OTHER), (OTHER, GUEST)] {
            let message = named_in_full(&listed(from, to), &[OTHER.octets().map(|_| 9).into(), GUEST]).unwrap();
            assert_eq!(message, about_connections(DELETE).nest(TUPLE_ORIGINAL, &tuple(from)));
        }
        assert_eq!(named_in_full(&listed(OTHER, OTHER), &[GUEST]), None);
        for cut in 0..listed(GUEST, OTHER).len() {
            // Whatever is cut off names nothing, or the same as the whole.
            let bytes = &listed(GUEST, OTHER)[..cut];
            let named = named_in_full(bytes, &[GUEST]);
            assert!(named.is_none() || named == named_in_full(&listed(GUEST, OTHER), &[GUEST]), "{cut}");
        }
    }
}
