//! Bearer tokens: 256 random bits that a service keeps only the hash of.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// What every token begins with, so that a leaked one is recognised.
const PREFIX: &str = "mnt_";

/// A bearer token. Never printed but by [`Token::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The one that is made of a secret: 256 random bits that nothing else was made of.
    #[must_use]
    pub fn of(secret: &[u8; 32]) -> Self {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PREFIX}{hex}"))
    }

    /// Its text, for the one place that hands it to its owner, and the one that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a service keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(hmac_sha256::Hash::hash(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let body = text.strip_prefix(PREFIX).unwrap_or_default();
        // 32 characters of at least 4 bits each: nobody can have chosen a shorter one.
        if !(32..=128).contains(&body.len()) || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::new(ErrorKind::Unauthenticated, "not a token of the form mnt_…"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The SHA-256 of a token: enough, since nobody can guess what it was made from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What a store keeps.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0u8, |diff, (one, two)| diff | (one ^ two)) == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenHash {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("hash", "not a hash of the form sha256: and 64 hexadecimal digits");
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(bad)?;
        let mut hash = [0u8; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(hash))
    }
}

/// How much of what its user may a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    /// Look.
    Read,
    /// Look, and enter VMs.
    Enter,
    /// All of it.
    #[default]
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_8_what_is_no_token_is_refused_before_it_is_hashed() {
        for text in [
            "",
            "mnt_",
            "mnt_short",
            &format!("mnt_{}", "a".repeat(8192)),
            "mnt_\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(text.parse::<Token>().is_err(), "{}", text.len());
        }
    }
}
