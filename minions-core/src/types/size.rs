//! Amounts, with their units.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A number of bytes: `2GiB` where people write it, a plain number in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Bytes.
    #[must_use]
    pub const fn bytes(value: u64) -> Self {
        Self(value)
    }
    /// Units of 2^20 bytes.
    #[must_use]
    pub const fn mib(value: u64) -> Self {
        Self(value.saturating_mul(1 << 20))
    }
    /// Units of 2^30 bytes.
    #[must_use]
    pub const fn gib(value: u64) -> Self {
        Self(value.saturating_mul(1 << 30))
    }
    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
    /// Whole units of 2^20 bytes.
    #[must_use]
    pub const fn as_mib(self) -> u64 {
        self.0 >> 20
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            let one = 1u64 << shift;
            if self.0 >= one {
                let (whole, tenth) = (self.0 / one, self.0 % one * 10 / one);
                return match tenth {
                    0 => write!(f, "{whole}{unit}"),
                    tenth => write!(f, "{whole}.{tenth}{unit}"),
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("size", "a size is a whole number with a unit, such as 512MiB or 2GiB");
        let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(bad()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

/// A number of virtual CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Vcpus(pub u32);

impl fmt::Display for Vcpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, want) in [
            ("2GiB", ByteSize::gib(2)),
            ("512M", ByteSize::mib(512)),
            ("10", ByteSize::bytes(10)),
            ("1t", ByteSize::gib(1024)),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap(), want, "{text}");
        }
    }

    #[test]
    fn bad_3_sizes_that_overflow_or_are_no_sizes_are_refused() {
        for text in ["", "-1", "1e3", "NaN", "99999999999TiB", "GiB", "1.5GiB", "2 bananas"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_their_largest_unit() {
        assert_eq!(ByteSize::gib(2).to_string(), "2GiB");
        assert_eq!(ByteSize::mib(1536).to_string(), "1.5GiB");
        assert_eq!(ByteSize::bytes(12).to_string(), "12B");
    }
}
