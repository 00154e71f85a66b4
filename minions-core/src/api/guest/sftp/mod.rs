//! SFTP, version 3, as the agent speaks it: no program of the guest is needed for files over SSH.
//!
//! It is spoken in the guest and not at the gateway, so that the gateway reads nothing of what a guest says, and so that a
//! file's bytes cross from the guest once. A session is a function of its packets over [`GuestFiles`]; the real files of
//! a guest and those of a simulated one both are that.
//!
//! ```text
//! files.rs    what a session does its work with      packet.rs   numbers, strings and attributes, with every length checked
//! session.rs  a packet in, its answer out            listing.rs  names of a directory, as a client shows them
//! extended.rs what OpenSSH added                     serve.rs    a session on the frames of a call
//! ```

mod extended;
mod files;
mod listing;
mod packet;
mod serve;
mod session;
#[cfg(test)]
mod tests;

pub use files::{FileAttrs, GuestFiles, OpenHow};
pub use packet::MAX_PACKET;
pub use serve::serve_sftp;
pub use session::MAX_HANDLES;

pub(super) use files::{absolute, joined, name_of};
