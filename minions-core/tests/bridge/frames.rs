//! Frames as bytes, honest and forged.

use std::net::Ipv4Addr;

pub const BROADCAST: [u8; 6] = [0xff; 6];
pub const ARP: u16 = 0x0806;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

pub fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &kind.to_be_bytes()[..], payload].concat()
}

/// 1 asks, 2 answers.
pub fn arp(op: u16, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(op.to_be_bytes());
    bytes.extend(sender.0);
    bytes.extend(sender.1.octets());
    bytes.extend(target.0);
    bytes.extend(target.1.octets());
    bytes
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, len[0], len[1], 0, 7, 0, 0, 64, protocol, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let check = sum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&check);
    header.extend(payload);
    header
}

/// Without a checksum, which UDP allows.
pub fn udp(from: Ipv4Addr, from_port: u16, to: Ipv4Addr, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
    bytes.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    ipv4(from, to, 17, &bytes)
}

pub const SYN: u8 = 2;

pub fn tcp(from: Ipv4Addr, from_port: u16, to: Ipv4Addr, to_port: u16, flags: u8, numbers: (u32, u32)) -> Vec<u8> {
    let mut bytes = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
    bytes.extend(numbers.0.to_be_bytes());
    bytes.extend(numbers.1.to_be_bytes());
    bytes.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let mut pseudo = [from.octets(), to.octets()].concat();
    pseudo.extend([0, 6, 0, 20]);
    pseudo.extend(&bytes);
    let check = sum(&pseudo).to_be_bytes();
    bytes[16..18].copy_from_slice(&check);
    ipv4(from, to, 6, &bytes)
}

pub fn ping(from: Ipv4Addr, to: Ipv4Addr, mark: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0, 0, 1, 0, 1];
    bytes.extend(mark);
    let check = sum(&bytes).to_be_bytes();
    bytes[2..4].copy_from_slice(&check);
    ipv4(from, to, 1, &bytes)
}

/// A router advertisement to all nodes, as a rogue router sends it. Nobody looks at its checksum here.
pub fn advertisement() -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 16, 58, 255];
    bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66]);
    bytes.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Where an IPv4 frame comes from and goes to.
pub fn ends(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ip = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    (frame.get(12..14)? == IPV4.to_be_bytes()).then(|| Some((ip(26)?, ip(30)?)))?
}
