//! Which name leads to which VM, in memory: as new as what the service has acknowledged.
//!
//! ```text
//! table.rs  names and VMs, and what a visitor may reach: no I/O     feed.rs  keeps it as new as the stream of events
//! ```

mod feed;
mod table;

pub(super) use feed::Routes;
pub(super) use table::{Load, Route};
