//! Connections into VMs.
//!
//! ```text
//! stream.rs  a byte stream over the frames of a forward     dial.rs  asks for one and speaks HTTP over it
//! pool.rs    those that are free, per run of a VM            body.rs  what flows over them
//! ```

mod body;
mod dial;
mod pool;
mod stream;

pub(super) use body::{Inbound, Outbound};
pub(super) use dial::dial;
pub(super) use pool::Pool;
