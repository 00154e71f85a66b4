//! Forgets the connections of an address, so that none reaches who has it next.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use super::error::BridgeError;
use super::socket::Socket;
use super::wire::{Message, Nest};

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

/// Forgets what a guest began, and what was begun towards it.
pub(super) fn forget(socket: &mut Socket, ips: &[Ipv4Addr]) -> Result<(), BridgeError> {
    let messages: Vec<Message> = ips
        .iter()
        .flat_map(|ip| [by_source(*ip, TUPLE_ORIGINAL, FILTER_ORIGINAL), by_source(*ip, TUPLE_REPLY, FILTER_REPLY)])
        .collect();
    for answer in socket.ask(&messages).map_err(BridgeError::io("forget connections"))? {
        match answer.error {
            // None of them, or a kernel that tracks no connections.
            None | Some(Errno::NOENT | Errno::OPNOTSUPP) => {}
            Some(error) => return Err(BridgeError::io("forget connections")(error.into())),
        }
    }
    Ok(())
}

fn by_source(ip: Ipv4Addr, tuple: u16, which: u16) -> Message {
    const AF_INET: u8 = 2;
    // Version 1: the family counts.
    let message = Message::new(DELETE, 0, &[AF_INET, 1, 0, 0]);
    let source = Nest::default().nest(TUPLE_IP, &Nest::default().attr(IP_SOURCE, &ip.octets()));
    let flags = Nest::default().attr(which, &BY_SOURCE.to_ne_bytes());
    message.nest(tuple, &source).nest(FILTER, &flags)
}
