//! Identifiers. 128 bits each, distinct types, time-ordered, made only by [`crate::env::IdSource`].

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters that 128 bits take, the first of which holds only three.
const TEXT_LEN: usize = 26;

pub(crate) fn encode(value: u128) -> String {
    (0..TEXT_LEN)
        .rev()
        .map(|place| {
            let digit = (value >> (place * 5)) & 31;
            char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)])
        })
        .collect()
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != TEXT_LEN || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&known| known == byte)?;
        Some((value << 5) | u128::try_from(digit).ok()?)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// From the bits that an [`crate::env::IdSource`] gave, or that a store kept.
            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// The bits, for a store.
            #[must_use]
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// The last 60 bits as 12 characters: what names of host objects are made of. The first bits are a
            /// clock, and would be alike.
            #[must_use]
            pub fn short(self) -> String {
                encode(self.0)[TEXT_LEN - 12..].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| Error::invalid("id", concat!("not an id of the form ", $prefix, "_…")))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A virtual machine, for ever: never reused, not even after its destruction.
    VmId, "vm"
);
id!(
    /// One asynchronous piece of work that a caller may wait for.
    OperationId, "op"
);
id!(
    /// A physical machine that runs VMs.
    HostId, "host"
);
id!(
    /// A bearer token, as its user calls it: it is no secret.
    TokenId, "tok"
);
id!(
    /// A snapshot of a VM's disks.
    SnapshotId, "snap"
);

/// The content address of an image: the SHA-256 over its manifest. Text `img_` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId([u8; 32]);

impl ImageId {
    /// From a SHA-256.
    #[must_use]
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The SHA-256.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[4..16].to_owned()
    }

    /// Whether someone may mean it by this text: the beginning of its digits, at least eight of them, with or without
    /// `img_`. Others may begin alike.
    #[must_use]
    pub fn begins_with(&self, typed: &str) -> bool {
        let digits = typed.strip_prefix("img_").unwrap_or(typed);
        digits.len() >= 8 && self.to_string()[4..].starts_with(digits)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("img_")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ImageId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("image", "not an image id of the form img_ and 64 hexadecimal digits");
        let hex = text.strip_prefix("img_").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(bad)?;
        let mut digest = [0u8; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            if pair.bytes().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(digest))
    }
}

impl serde::Serialize for ImageId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ImageId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The place of an event in the one stream of events; rises, without gaps for a reader that pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventSeq(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_are_the_same_thing() {
        for bits in [0, 1, u128::MAX, 0x0192_8374_6519_2837_4651_9283_7465_1928] {
            let id = VmId::from_bits(bits);
            assert_eq!(id.to_string().parse::<VmId>().unwrap(), id);
        }
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let id = OperationId::from_bits(7).to_string();
        assert!(id.parse::<VmId>().is_err());
    }

    #[test]
    fn text_that_would_not_fit_128_bits_is_refused() {
        assert!(format!("vm_8{}", "0".repeat(25)).parse::<VmId>().is_err());
        assert!(format!("vm_{}", "u".repeat(26)).parse::<VmId>().is_err());
        assert!("vm_é".parse::<VmId>().is_err());
    }

    #[test]
    fn the_short_form_is_the_end_of_the_text() {
        let id = VmId::from_bits(0x0192_8374_6519_2837_4651_9283_7465_1928);
        assert!(id.to_string().ends_with(&id.short()));
        assert_eq!(id.short().len(), 12);
    }

    #[test]
    fn an_image_is_meant_by_the_beginning_of_its_digits_and_by_nothing_else() {
        let mut digest = [0xab; 32];
        digest[31] = 1;
        let id = ImageId::from_digest(digest);
        for typed in [id.short(), id.to_string(), "abababab".to_owned(), "img_abababab".to_owned()] {
            assert!(id.begins_with(&typed), "{typed}");
        }
        for typed in ["", "img_", "abababa", "img_abababa", "ABABABAB", "babababa", "img_img_abababab"] {
            assert!(!id.begins_with(typed), "{typed}");
        }
        assert!(!id.begins_with(&format!("{id}0")) && !id.begins_with(&id.to_string().replace("01", "ab")));
    }
}
