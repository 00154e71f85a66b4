//! Names of VMs: labels that people choose, and nothing on a host is ever called by.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A DNS label `[a-z]([a-z0-9-]{0,38}[a-z0-9])?` without `--`. Parse-only: a value is proof.
///
/// What is stored is read as this, so that its rules never become narrower. What people choose is a [`NewVmName`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmName(String);

impl VmName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 40;

    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |message: &'static str| Err(Error::invalid("name", message).with_reason("name_invalid"));
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return bad("a name has 1 to 40 characters");
        }
        if !bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
            return bad("a name has only lower-case letters, digits and hyphens");
        }
        if !bytes[0].is_ascii_lowercase() {
            return bad("a name begins with a letter");
        }
        if bytes.ends_with(b"-") || text.contains("--") {
            return bad("a name does not end with a hyphen, nor hold two in a row");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A name that a VM may be given: a [`VmName`] that the service does not need for itself. Parse-only: a value is proof.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NewVmName(VmName);

impl NewVmName {
    /// Names that a service needs for itself: no new VM gets one. The list may grow; a VM that has such a name already
    /// keeps it.
    pub const RESERVED: &'static [&'static str] = &[
        "admin",
        "api",
        "app",
        "auth",
        "console",
        "dashboard",
        "default",
        "dns",
        "docs",
        "localhost",
        "login",
        "mail",
        "metrics",
        "minion",
        "minions",
        "ns1",
        "ns2",
        "root",
        "smtp",
        "ssh",
        "static",
        "status",
        "support",
        "www",
    ];

    /// The name.
    #[must_use]
    pub fn name(&self) -> &VmName {
        &self.0
    }
}

impl FromStr for NewVmName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name: VmName = text.parse()?;
        if Self::RESERVED.binary_search(&text).is_ok() {
            let message = format!(
                "{text} is a name that the service keeps for itself, like {}; choose another, such as my-{text}",
                Self::RESERVED.iter().filter(|name| **name != text).copied().collect::<Vec<_>>().join(", ")
            );
            return Err(Error::invalid("name", message).with_reason("name_invalid"));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for NewVmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for NewVmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for NewVmName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> serde::Deserialize<'de> for NewVmName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for VmName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for VmName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_1_names_that_could_mean_something_else_are_refused() {
        let long = "a".repeat(41);
        let bad = [
            "",
            &long,
            "Web",
            "-web",
            "web-",
            "we--b",
            "we_b",
            "we.b",
            ".",
            "..",
            "a/b",
            "a\0b",
            "a\nb",
            "🙂",
            "wеb",
            "xn--bcher-kva",
            "-rf",
            "1web",
            "_acme-challenge",
        ];
        let refused = |error: Error, text: &str| {
            assert_eq!((error.reason(), error.field()), (Some("name_invalid"), Some("name")), "{text:?}");
        };
        for text in bad {
            refused(text.parse::<VmName>().expect_err(text), text);
            refused(text.parse::<NewVmName>().expect_err(text), text);
        }
        for text in ["www", "api", "admin", "ssh", "mail", "ns1", "localhost", "minions", "root"] {
            refused(text.parse::<NewVmName>().expect_err(text), text);
        }
    }

    #[test]
    fn bad_1_a_reserved_name_that_is_stored_stays_readable_and_is_given_to_nobody_new() {
        for text in NewVmName::RESERVED {
            let stored: VmName = text.parse().expect(text);
            assert_eq!(serde_json::from_str::<VmName>(&format!("{text:?}")).unwrap(), stored);
            assert!(serde_json::from_str::<NewVmName>(&format!("{text:?}")).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_are_names() {
        for text in ["a", "web", "a1", "my-web-2", &"a".repeat(40)] {
            assert_eq!(text.parse::<VmName>().unwrap().as_str(), text);
            assert_eq!(text.parse::<NewVmName>().unwrap().name().as_str(), text);
        }
    }

    #[test]
    fn the_reserved_list_is_sorted_so_that_it_can_be_searched() {
        assert!(NewVmName::RESERVED.is_sorted());
    }
}
