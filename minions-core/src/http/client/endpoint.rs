//! Where a server is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// Where a server is: `unix:///path/to/minions.sock`, or `http://127.0.0.1:7777`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP address; names are resolved at each connection.
    Tcp(String),
}

impl Endpoint {
    /// What stands in the header `Host`.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp(authority) => authority,
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |message: String| Err(Error::invalid("server", message));
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return bad(format!("{text:?}: write a UNIX socket as unix:///absolute/path"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        if text.starts_with("https://") {
            let message = "https is not there yet; reach a remote server through an SSH tunnel to its UNIX socket";
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("server"));
        }
        let Some(authority) = text.strip_prefix("http://") else {
            return bad(format!("{text:?}: write a server as unix:///path or http://address:port"));
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let parsed = authority.parse::<hyper::http::uri::Authority>().ok();
        let whole = parsed.is_some_and(|parsed| parsed.port_u16().is_some() && !authority.contains('@'));
        if !whole {
            return bad(format!("{text:?}: write a server as http://address:port"));
        }
        Ok(Self::Tcp(authority.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "http://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_read_as_people_write_them() {
        for (text, want) in [
            ("unix:///run/m.sock", Endpoint::Unix("/run/m.sock".into())),
            ("/run/m.sock", Endpoint::Unix("/run/m.sock".into())),
            ("http://127.0.0.1:7777/", Endpoint::Tcp("127.0.0.1:7777".to_owned())),
            ("http://[::1]:7777", Endpoint::Tcp("[::1]:7777".to_owned())),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap(), want);
        }
    }

    #[test]
    fn bad_12_what_is_no_server_is_refused() {
        for text in
            ["", "web", "unix://relative", "http://", "http://host", "http://u:p@h:1", "http://h:1/x", "ftp://h:1"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
