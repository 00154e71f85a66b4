//! SSH public keys, as people paste them and as stores keep them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Bytes of the longest line that is looked at, its comment among them.
const MAX_LINE: usize = 16 << 10;

/// Characters of a comment that are kept.
const MAX_COMMENT: usize = 100;

/// Bits of the smallest and of the largest RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The SHA-256 of a public key: what it is known by. Shown as OpenSSH shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPrint([u8; 32]);

impl KeyPrint {
    /// Of the key's own bytes, as they cross the wire.
    #[must_use]
    pub fn of_blob(blob: &[u8]) -> Self {
        Self(hmac_sha256::Hash::hash(blob))
    }

    /// The one that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What a store keeps.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", encode(&self.0).trim_end_matches('='))
    }
}

impl fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyPrint {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("key", "a fingerprint looks like SHA256:… with 43 letters and digits, +, /");
        let body = text.strip_prefix("SHA256:").ok_or_else(bad)?;
        let bytes = decode(&format!("{body}=")).and_then(|bytes| bytes.try_into().ok()).ok_or_else(bad)?;
        Ok(Self(bytes))
    }
}

/// A public key that somebody may log in with: Ed25519, ECDSA over a NIST curve, either of them in a security key, or RSA
/// with 2048 to 8192 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: &'static str,
    blob: Vec<u8>,
    comment: String,
}

/// The kinds of key, each with how many strings follow its kind in the blob.
const KINDS: [(&str, usize); 7] = [
    ("ssh-ed25519", 1),
    ("ecdsa-sha2-nistp256", 2),
    ("ecdsa-sha2-nistp384", 2),
    ("ecdsa-sha2-nistp521", 2),
    ("sk-ssh-ed25519@openssh.com", 2),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 3),
    ("ssh-rsa", 2),
];

impl PublicKey {
    /// Its kind, as in its line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// What it is known by.
    #[must_use]
    pub fn print(&self) -> KeyPrint {
        KeyPrint::of_blob(&self.blob)
    }

    /// What its owner wrote behind it, without anything that a terminal would obey.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Its line without a comment: the same for every way that the key can be written.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.kind, encode(&self.blob))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    /// Reads one line of the form `KIND BASE64 [COMMENT]`.
    fn from_str(text: &str) -> Result<Self> {
        if text.contains("PRIVATE KEY") {
            let text = "this is a private key; it must stay with you: paste the file that ends in .pub, and make a new key \
                        if the private one was seen by anybody";
            return Err(Error::invalid("key", text));
        }
        if text.len() > MAX_LINE {
            return Err(Error::invalid("key", "the key is too long; paste the one line of a file that ends in .pub"));
        }
        let line = text.trim_end_matches(['\r', '\n']);
        if line.contains(['\r', '\n', '\0']) {
            return Err(Error::invalid("key", "one key is one line; add each of them by itself"));
        }
        let mut words = line.trim().splitn(3, [' ', '\t']);
        let (kind, body, comment) = (words.next().unwrap_or_default(), words.next(), words.next().unwrap_or_default());
        let Some((kind, fields)) = KINDS.iter().find(|(known, _)| *known == kind) else { return Err(refused(kind)) };
        let blob = body.and_then(decode).ok_or_else(malformed)?;
        check(kind, *fields, &blob)?;
        let comment = comment.chars().filter(|letter| !letter.is_control()).take(MAX_COMMENT).collect();
        Ok(Self { kind, blob, comment })
    }
}

fn malformed() -> Error {
    Error::invalid("key", "this is no SSH public key; paste the one line of a file that ends in .pub")
}

fn refused(kind: &str) -> Error {
    if kind.contains("-cert-v01") {
        return Error::invalid("key", "this is a certificate; paste the public key that it is made for");
    }
    if kind == "ssh-dss" {
        return Error::invalid("key", "DSA keys are broken; make a new key: ssh-keygen -t ed25519");
    }
    if kind.contains(['=', ',']) {
        return Error::invalid("key", "options before a key are not taken; paste the key alone");
    }
    malformed()
}

/// That the blob is what its kind says, to its last byte.
fn check(kind: &str, fields: usize, blob: &[u8]) -> Result<()> {
    let mut rest = blob;
    let inner = string(&mut rest).ok_or_else(malformed)?;
    let all: Option<Vec<&[u8]>> = (0..fields).map(|_| string(&mut rest)).collect();
    let all = all.filter(|_| rest.is_empty() && inner == kind.as_bytes()).ok_or_else(malformed)?;
    let right = match (kind, all.as_slice()) {
        ("ssh-ed25519", [key]) => key.len() == 32,
        ("sk-ssh-ed25519@openssh.com", [key, application]) => key.len() == 32 && !application.is_empty(),
        ("sk-ecdsa-sha2-nistp256@openssh.com", [curve, point, application]) => {
            *curve == b"nistp256" && is_point(point, 32) && !application.is_empty()
        }
        ("ecdsa-sha2-nistp256", [curve, point]) => *curve == b"nistp256" && is_point(point, 32),
        ("ecdsa-sha2-nistp384", [curve, point]) => *curve == b"nistp384" && is_point(point, 48),
        ("ecdsa-sha2-nistp521", [curve, point]) => *curve == b"nistp521" && is_point(point, 66),
        ("ssh-rsa", [exponent, modulus]) => return rsa(exponent, modulus),
        _ => false,
    };
    if right { Ok(()) } else { Err(malformed()) }
}

/// An uncompressed point of a curve whose numbers have this many bytes.
fn is_point(point: &[u8], size: usize) -> bool {
    point.len() == 1 + 2 * size && point.first() == Some(&4)
}

fn rsa(exponent: &[u8], modulus: &[u8]) -> Result<()> {
    // A number is written without zeros in front, but for one where its highest bit would make it negative.
    let plain = |number: &[u8]| match number {
        [0, next, ..] => *next >= 0x80,
        [first, ..] => (1..0x80).contains(first),
        [] => false,
    };
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !plain(exponent) || !plain(modulus) || !odd(exponent) || !odd(modulus) || exponent.len() > 8 || exponent == [1] {
        return Err(malformed());
    }
    let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let zeros = digits.first().map_or(0, |first| first.leading_zeros() as usize);
    if RSA_BITS.contains(&(digits.len() * 8 - zeros)) {
        return Ok(());
    }
    Err(Error::invalid("key", "an RSA key has 2048 to 8192 bits; make a new key: ssh-keygen -t ed25519"))
}

/// Takes one string off the front.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (size, after) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
    let (text, after) = after.split_at_checked(size)?;
    *rest = after;
    Some(text)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (group >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[digit as usize]) } else { '=' });
        }
    }
    text
}

/// Only the one way to write something is read: a key has no second line that is also its own.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let body = text.trim_end_matches('=');
    if text.is_empty() || !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    for chunk in body.as_bytes().chunks(4) {
        let mut group = 0u32;
        for letter in chunk {
            group = group << 6 | u32::try_from(ALPHABET.iter().position(|known| known == letter)?).ok()?;
        }
        group <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

    fn blob(fields: &[&[u8]]) -> Vec<u8> {
        fields.iter().flat_map(|field| [&u32::try_from(field.len()).unwrap().to_be_bytes(), *field].concat()).collect()
    }

    fn rsa_line(bits: usize) -> String {
        let mut modulus = vec![0; bits / 8 + 1];
        modulus[1] = 0x80;
        modulus[bits / 8] = 1;
        format!("ssh-rsa {}", encode(&blob(&[b"ssh-rsa", &[1, 0, 1], &modulus])))
    }

    #[test]
    fn a_key_is_known_by_the_fingerprint_that_openssh_shows() {
        let key: PublicKey = format!("{ED25519} ada@home\r\n").parse().unwrap();
        assert_eq!((key.kind(), key.comment()), ("ssh-ed25519", "ada@home"));
        assert_eq!(key.line(), ED25519);
        let print = key.print().to_string();
        assert_eq!(print.parse::<KeyPrint>().unwrap(), key.print());
        assert_eq!(print.len(), "SHA256:".len() + 43);
    }

    #[test]
    fn every_kind_is_taken_and_none_of_the_wrong_size() {
        let point = |size: usize| [&[4][..], &vec![7; 2 * size]].concat();
        for (kind, fields) in [
            ("ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), point(32)]),
            ("ecdsa-sha2-nistp384", vec![b"nistp384".to_vec(), point(48)]),
            ("ecdsa-sha2-nistp521", vec![b"nistp521".to_vec(), point(66)]),
            ("sk-ssh-ed25519@openssh.com", vec![vec![7; 32], b"ssh:".to_vec()]),
            ("sk-ecdsa-sha2-nistp256@openssh.com", vec![b"nistp256".to_vec(), point(32), b"ssh:".to_vec()]),
        ] {
            let line = |fields: &[Vec<u8>]| {
                let all: Vec<&[u8]> = [kind.as_bytes()].into_iter().chain(fields.iter().map(Vec::as_slice)).collect();
                format!("{kind} {}", encode(&blob(&all)))
            };
            assert!(line(&fields).parse::<PublicKey>().is_ok(), "{kind}");
            for index in 0..fields.len() {
                let mut wrong = fields.clone();
                wrong[index].push(0);
                let taken = line(&wrong).parse::<PublicKey>().is_ok();
                assert_eq!(taken, wrong[index].starts_with(b"ssh:"), "{kind} field {index}");
            }
            let more = [fields.clone(), vec![vec![1]]].concat();
            assert!(line(&more).parse::<PublicKey>().is_err(), "{kind} with something behind it");
        }
        for (bits, taken) in [(1024, false), (2048, true), (4096, true), (8192, true), (16_384, false)] {
            assert_eq!(rsa_line(bits).parse::<PublicKey>().is_ok(), taken, "{bits}");
        }
    }

    #[test]
    fn bad_5_what_is_no_key_to_log_in_with_is_refused_with_what_to_do() {
        let told = |text: &str| text.parse::<PublicKey>().expect_err(text).to_string();
        assert!(told("-----BEGIN OPENSSH PRIVATE KEY-----\nabc").contains("private key"));
        assert!(told(&format!("{ED25519}\n{ED25519}")).contains("one key is one line"));
        assert!(told(&format!("command=\"rm\" {ED25519}")).contains("options"));
        assert!(told(&format!("from=\"10.0.0.1\" {ED25519}")).contains("options"));
        assert!(told("ssh-dss AAAAB3NzaC1kc3M=").contains("DSA"));
        assert!(told(&ED25519.replace("ssh-ed25519 ", "ssh-ed25519-cert-v01@openssh.com ")).contains("certificate"));
        assert!(told(&rsa_line(1024)).contains("2048"));
        assert!(told(&format!("{ED25519} {}", "x".repeat(20 << 10))).contains("too long"));
        let not_its_kind = ED25519.replace("ssh-ed25519 ", "ecdsa-sha2-nistp256 ");
        for text in
            ["", " ", "ssh-ed25519", "ssh-ed25519 !!!!", "ssh-ed25519 AAAA", "hello there", not_its_kind.as_str()]
        {
            assert!(told(text).contains("no SSH public key"), "{text}");
        }
        let key: PublicKey = format!("{ED25519} a\u{1b}]0;b\u{9b}c").parse().unwrap();
        assert_eq!(key.comment(), "a]0;bc");
    }

    #[test]
    fn what_is_written_one_way_is_read_one_way() {
        for (text, bytes) in [("AA==", Some(vec![0])), ("AAA=", Some(vec![0, 0])), ("AAAA", Some(vec![0, 0, 0]))] {
            assert_eq!(decode(text), bytes);
        }
        for text in ["", "A", "A===", "AB==", "AAB=", "AA=A", "AA=", "====", "AAAA ", "A\u{e4}A"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
