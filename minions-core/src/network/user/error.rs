use std::io;
use std::net::Ipv4Addr;

use crate::error::{Effect, Error, ErrorKind};
use crate::host::error::kind_of;
use crate::types::VmId;

#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("{subnet}/{prefix} is no subnet of 8 to 28 bits")]
    Subnet { subnet: Ipv4Addr, prefix: u8 },
    #[error("{0} is not in the pool of this network")]
    OutsidePool(Ipv4Addr),
    #[error("the port of {0} has other addresses")]
    Differs(VmId),
    #[error("the record of a port cannot be read; remove it: {path}")]
    Broken { path: String },
    #[error("cannot {what}")]
    Io { what: &'static str, source: io::Error },
}

impl From<UserError> for Error {
    fn from(error: UserError) -> Self {
        let text = error.to_string();
        match error {
            UserError::Subnet { .. } => Self::invalid("network.subnet", text),
            UserError::OutsidePool(_) => Self::invalid("ip", text),
            UserError::Differs(_) => Self::new(ErrorKind::AlreadyExists, text),
            UserError::Broken { .. } => Self::internal(text),
            UserError::Io { source, .. } => {
                Self::new(kind_of(&source), text).with_effect(Effect::Unknown).with_source(source)
            }
        }
    }
}
