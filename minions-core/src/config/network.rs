//! The section about the network of guests.

use std::net::Ipv4Addr;
use std::str::FromStr;

use super::file::{At, Reading, Section};
use crate::types::Ipv4Cidr;

/// How guests reach the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkKind {
    /// Each behind its monitor's own NAT: needs no privilege, isolates nothing.
    #[default]
    User,
    /// On bridges of the host, pinned and kept apart: needs root and nftables.
    Bridge,
}

impl NetworkKind {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Bridge => "bridge",
        }
    }
}

impl FromStr for NetworkKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Self::User),
            "bridge" => Ok(Self::Bridge),
            _ => Err("expected user or bridge".to_owned()),
        }
    }
}

/// What an operator says of the network; `None` where the network decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Which network.
    pub kind: NetworkKind,
    /// The guests' addresses: those of the first bridge.
    pub subnet: Option<Ipv4Cidr>,
    /// What the names of bridges begin with.
    pub bridge: Option<String>,
    /// How many bridges there are.
    pub bridges: Option<u32>,
    /// What guests resolve names with.
    pub resolvers: Option<Vec<Ipv4Addr>>,
    /// Private ranges that guests may reach.
    pub open: Option<Vec<Ipv4Cidr>>,
}

pub(super) fn check(to: &mut Reading<'_>, mut section: Section<'_>) -> NetworkSettings {
    let mut settings = NetworkSettings::default();
    if let Some(kind) = section.parsed(to, "kind", str::parse) {
        settings.kind = kind.value;
    }
    settings.subnet = section.parsed(to, "subnet", range).map(|subnet| subnet.value);
    settings.bridge = section.string(to, "bridge").map(|bridge| bridge.value);
    let bridges = section.whole(to, "bridges");
    settings.bridges = bridges.and_then(|At { value, at, key }| match u32::try_from(value) {
        Ok(bridges @ 1..=256) => Some(bridges),
        _ => {
            to.problem(at, key, "expected a number from 1 to 256");
            None
        }
    });
    let resolver = |text: &str| text.parse().map_err(|_| format!("{text} is no IPv4 address"));
    settings.resolvers = section.list(to, "resolvers", resolver);
    settings.open = section.list(to, "open", range);
    section.finish(to);
    settings
}

fn range(text: &str) -> Result<Ipv4Cidr, String> {
    text.parse().map_err(|error: crate::Error| error.to_string())
}
