use std::io;
use std::net::Ipv4Addr;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::command::CommandError;
use crate::host::error::kind_of;
use crate::types::{Ipv4Cidr, VmId};

#[derive(Debug, thiserror::Error)]
pub(super) enum BridgeError {
    #[error("{0}")]
    Config(String),
    #[error("{0} is in no pool of this network")]
    OutsidePool(Ipv4Addr),
    #[error("the port of {0} has other addresses")]
    Differs(VmId),
    #[error("{ip} is pinned to the port of {other}")]
    Taken { ip: Ipv4Addr, other: VmId },
    #[error("an interface {name} is there that is not ours; if nobody needs it: ip link delete {name}")]
    ForeignPort { name: String },
    #[error("the port of {0} is open by a monitor")]
    InUse(VmId),
    #[error("{name} {what}; {fix}")]
    Bridge { name: String, what: String, fix: String },
    #[error("{subnet} overlaps {route}, which this host reaches otherwise; choose another network.subnet")]
    Overlap { subnet: Ipv4Cidr, route: Ipv4Cidr },
    #[error("the firewall's table is not there")]
    NoTable,
    #[error("a port may reach at most {0} ranges")]
    TooMany(usize),
    #[error("cannot load the firewall's table: {0}")]
    Load(#[source] CommandError),
    #[error("cannot {what}")]
    Io { what: &'static str, source: io::Error },
    #[error("the network's thread has ended")]
    Ended,
}

impl BridgeError {
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// The kernel's number, where it refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl From<BridgeError> for Error {
    fn from(error: BridgeError) -> Self {
        let text = error.to_string();
        match error {
            BridgeError::Config(_) => Self::invalid("network", text),
            BridgeError::OutsidePool(_) => Self::invalid("ip", text),
            BridgeError::TooMany(_) => Self::invalid("egress", text),
            BridgeError::Differs(_) => Self::new(ErrorKind::AlreadyExists, text),
            BridgeError::Taken { .. } | BridgeError::InUse(_) | BridgeError::ForeignPort { .. } => {
                Self::new(ErrorKind::Conflict, text)
            }
            BridgeError::Bridge { .. } | BridgeError::Overlap { .. } => {
                Self::new(ErrorKind::Unsupported, text).with_reason("host_misconfigured")
            }
            BridgeError::NoTable => Self::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown),
            BridgeError::Load(source) => {
                Self::new(ErrorKind::Unavailable, "cannot load the firewall's table; minions doctor tells more")
                    .with_effect(Effect::Unknown)
                    .with_reason("host_misconfigured")
                    .with_source(source)
            }
            BridgeError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
            BridgeError::Ended => Self::internal(text).with_effect(Effect::Unknown),
        }
    }
}
