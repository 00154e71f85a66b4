//! The agent in a guest: serves the calls of [`crate::api::guest`], and is PID 1 of our initrd.
//!
//! Everything in it runs as root of the guest and belongs to the guest's owner: it protects the guest from its
//! unprivileged users, not from its root. It depends on the wire types and nothing else of the crate.

mod announce;
mod console;
mod error;
mod exec;
mod files;
mod forward;
mod grow;
pub mod init;
mod listen;
mod log;
mod modest;
mod power;
mod secret;
mod serve;
mod server;
mod service;
mod status;
mod supervise;

pub use announce::{Announcement, ReadyDoor, announce};
pub use listen::{Door, listen};
pub use secret::read_secret;
pub use serve::{ServeOptions, main, serve};
pub use server::{Agent, AgentOptions, Machine};
pub use supervise::supervise;

/// The port on which the agent listens.
pub const AGENT_PORT: u32 = 1023;
/// The port on which the host listens for "ready".
pub const READY_PORT: u32 = 1024;
