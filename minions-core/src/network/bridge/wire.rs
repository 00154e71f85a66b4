//! Netlink messages as bytes: a header of 16 bytes, the family's own, then attributes.

use std::net::Ipv4Addr;

/// Nested attributes say so.
const NESTED: u16 = 0x8000;
/// What of an attribute's kind is no flag.
const KIND: u16 = 0x3fff;
const HEADER: usize = 16;

/// A request without its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// With the header of its family.
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        Self { kind, flags, body: padded(header) }
    }

    #[must_use]
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        attr(&mut self.body, kind, value);
        self
    }

    /// A text with its closing zero.
    #[must_use]
    pub fn text(self, kind: u16, text: &str) -> Self {
        self.attr(kind, &zero_ended(text))
    }

    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    #[must_use]
    pub fn ip(self, kind: u16, ip: Ipv4Addr) -> Self {
        self.attr(kind, &ip.octets())
    }

    #[must_use]
    pub fn nest(mut self, kind: u16, inside: &Nest) -> Self {
        attr(&mut self.body, kind | NESTED, &inside.0);
        self
    }

    /// As it is sent.
    pub fn encode(&self, to: &mut Vec<u8>, more_flags: u16, seq: u32) {
        let len = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        to.extend(len.to_ne_bytes());
        to.extend(self.kind.to_ne_bytes());
        to.extend((self.flags | more_flags).to_ne_bytes());
        to.extend(seq.to_ne_bytes());
        to.extend(0u32.to_ne_bytes());
        to.extend(&self.body);
    }
}

/// Attributes inside an attribute.
#[derive(Clone, Debug, Default)]
pub(super) struct Nest(Vec<u8>);

impl Nest {
    /// Attributes as they came.
    pub fn raw(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    #[must_use]
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        attr(&mut self.0, kind, value);
        self
    }

    #[must_use]
    pub fn text(self, kind: u16, text: &str) -> Self {
        self.attr(kind, &zero_ended(text))
    }

    #[must_use]
    pub fn nest(mut self, kind: u16, inside: &Nest) -> Self {
        attr(&mut self.0, kind | NESTED, &inside.0);
        self
    }
}

fn zero_ended(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn attr(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Nothing that we send comes near 64 KiB; what did would be refused by the kernel as cut off.
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(len.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(padded(value));
}

/// A message as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub body: &'a [u8],
}

/// The messages of what was received. Ends at the first that is cut off.
pub(super) fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let body = bytes.get(HEADER..len)?;
        let reply = Reply { kind: u16_at(bytes, 4)?, flags: u16_at(bytes, 6)?, seq: u32_at(bytes, 8)?, body };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(reply)
    })
}

/// The attributes of a body behind its family's header. Ends at the first that is cut off.
pub(super) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..len)?;
        let kind = u16_at(bytes, 2)? & KIND;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// One attribute.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(have, _)| *have == kind).map(|(_, value)| value)
}

/// A text up to its zero.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_is_aligned() {
        let message = Message::new(16, 1, &[7; 5]).text(3, "br0").nest(18, &Nest::default().text(1, "bridge"));
        let mut bytes = Vec::new();
        message.encode(&mut bytes, 4, 99);
        message.encode(&mut bytes, 0, 100);
        assert_eq!(bytes.len() % 4, 0);
        let seen: Vec<_> = replies(&bytes).collect();
        assert_eq!(
            seen.iter().map(|reply| (reply.kind, reply.flags, reply.seq)).collect::<Vec<_>>(),
            [(16, 5, 99), (16, 1, 100)]
        );
        let body = &seen[0].body[8..];
        assert_eq!(find(body, 3).and_then(text), Some("br0"));
        assert_eq!(find(body, 18).and_then(|inside| find(inside, 1)).and_then(text), Some("bridge"));
    }

    #[test]
    fn what_is_cut_off_ends_the_reading_and_never_panics() {
        let mut bytes = Vec::new();
        Message::new(16, 0, &[]).text(3, "interface").u32(4, 9).encode(&mut bytes, 0, 1);
        for len in 0..bytes.len() {
            assert_eq!(replies(&bytes[..len]).count(), 0, "{len}");
            let _ = attrs(&bytes[..len]).count();
        }
        // Lengths that lie: nought, beyond the end, and as large as they can be.
        for lie in [0u16, 3, 200, u16::MAX] {
            let mut attrs_bytes = vec![8, 0, 1, 0, 1, 2, 3, 4];
            attrs_bytes[..2].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(attrs(&attrs_bytes).count(), 0, "{lie}");
        }
        for lie in [0u32, 15, 17, u32::MAX] {
            let mut whole = bytes.clone();
            whole[..4].copy_from_slice(&lie.to_ne_bytes());
            let _ = replies(&whole).map(|reply| attrs(reply.body).count()).sum::<usize>();
        }
    }
}
