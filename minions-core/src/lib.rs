//! The SDK for services that run virtual machines.
//!
//! Four ports say what a host can do: [`hypervisor::Hypervisor`], [`storage::Storage`], [`network::Network`] and
//! [`guest::GuestChannel`].

#[cfg(all(feature = "agent", target_os = "linux"))]
pub mod agent;
pub mod api;
#[cfg(feature = "config")]
pub mod config;
pub mod engine;
pub mod env;
pub mod error;
pub mod guest;
#[cfg(feature = "host-parts")]
pub mod host;
#[cfg(any(feature = "http-server", feature = "http-client"))]
pub mod http;
pub mod hypervisor;
#[cfg(feature = "image")]
pub mod image;
pub mod layers;
pub mod memory;
#[cfg_attr(not(feature = "testkit"), allow(dead_code, reason = "nothing plants a mistake"))]
#[doc(hidden)]
pub mod mutant;
pub mod network;
pub mod node;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod service;
#[cfg(feature = "setup")]
pub mod setup;
#[cfg(feature = "ssh")]
pub mod ssh;
pub mod storage;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod types;

pub use error::{Effect, Error, ErrorKind, Result};
