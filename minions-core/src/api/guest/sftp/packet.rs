//! Numbers, strings and attributes, with every length checked before it is believed.

use std::io;

use super::files::FileAttrs;

/// Most bytes of a packet, in both directions, without its length.
pub const MAX_PACKET: usize = 256 << 10;

/// Bytes of the length before a packet.
pub(super) const LENGTH: usize = 4;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed request")
}

/// The first packet's length, once it is there.
pub(super) fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.first_chunk::<LENGTH>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    match length {
        1..=MAX_PACKET => Ok(Some(length)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a packet of {length} bytes"))),
    }
}

/// What is left of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'p>(pub(super) &'p [u8]);

impl<'p> Input<'p> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> io::Result<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> io::Result<&'p [u8]> {
        let length = usize::try_from(self.u32()?).map_err(|_| malformed())?;
        let (string, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(string)
    }

    pub(super) fn attrs(&mut self) -> io::Result<FileAttrs> {
        let flags = self.u32()?;
        let mut attrs = FileAttrs::default();
        if flags & SIZE != 0 {
            attrs.size = Some(self.u64()?);
        }
        if flags & OWNER != 0 {
            attrs.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & MODE != 0 {
            attrs.mode = Some(self.u32()?);
        }
        if flags & TIMES != 0 {
            attrs.times = Some((self.u32()?, self.u32()?));
        }
        if flags & EXTENDED != 0 {
            // Each takes eight bytes at the least: the packet's end comes before the count's.
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(attrs)
    }
}

pub(super) fn put_u32(to: &mut Vec<u8>, number: u32) {
    to.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn put_u64(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_be_bytes());
}

/// Strings here are at most a packet long.
pub(super) fn put_string(to: &mut Vec<u8>, string: &[u8]) {
    put_u32(to, u32::try_from(string.len()).unwrap_or(u32::MAX));
    to.extend_from_slice(string);
}

pub(super) fn put_attrs(to: &mut Vec<u8>, attrs: &FileAttrs) {
    let flag = |is: bool, flag: u32| if is { flag } else { 0 };
    put_u32(
        to,
        flag(attrs.size.is_some(), SIZE)
            | flag(attrs.owner.is_some(), OWNER)
            | flag(attrs.mode.is_some(), MODE)
            | flag(attrs.times.is_some(), TIMES),
    );
    if let Some(size) = attrs.size {
        put_u64(to, size);
    }
    if let Some((user, group)) = attrs.owner {
        put_u32(to, user);
        put_u32(to, group);
    }
    if let Some(mode) = attrs.mode {
        put_u32(to, mode);
    }
    if let Some((read, written)) = attrs.times {
        put_u32(to, read);
        put_u32(to, written);
    }
}
