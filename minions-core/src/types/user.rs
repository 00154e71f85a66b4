//! People: what their accounts are called, and what they may do.

use std::fmt;
use std::str::FromStr;

use super::ByteSize;
use crate::error::{Error, Result};

/// The longest name of an account, in bytes.
const MAX_NAME: usize = 64;

/// The name of an account: 1 to 64 letters, digits and `-_.@`, beginning with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UserName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

impl FromStr for UserName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let fits = (1..=MAX_NAME).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
        match fits {
            true => Ok(Self(text.to_owned())),
            false => {
                Err(Error::invalid("user", "a user has 1 to 64 letters, digits and -_.@, a letter or digit first"))
            }
        }
    }
}

/// What a caller may do besides what owners may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Owns VMs, and sees only those.
    Tenant,
    /// Sees and changes everything, images among it.
    Admin,
    /// A front door of the service itself: sees every VM and every event, and neither changes nor enters any.
    Edge,
}

impl Default for Quota {
    fn default() -> Self {
        Self { vms: 1_000, disk: ByteSize::gib(100 * 1024), memory: ByteSize::gib(4 * 1024) }
    }
}

/// What an owner may have in all, stopped VMs counted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// VMs.
    pub vms: u64,
    /// Disks, in bytes.
    pub disk: ByteSize,
    /// Memory, in bytes.
    pub memory: ByteSize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_that_no_path_and_no_option_could_be() {
        for name in ["ada", "a", "1", "ada.l", "ada@example.org", &"a".repeat(64)] {
            assert_eq!(name.parse::<UserName>().unwrap().as_str(), name);
        }
        for name in ["", "-rf", ".", "..", "a/b", "a b", "a\0", "\u{e4}", "@a", "_", &"a".repeat(65)] {
            assert!(name.parse::<UserName>().is_err(), "{name}");
        }
    }
}
