//! The API over HTTP: a server in front of any [`ControlPlane`](crate::service::ControlPlane), and a client that is one.

#[cfg(feature = "http-client")]
pub mod client;
#[cfg(feature = "http-server")]
pub mod server;
pub mod token;
pub(crate) mod wire;

pub use wire::parse_duration;
