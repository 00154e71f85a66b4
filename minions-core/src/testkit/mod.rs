//! What adapters of your own are tested with: a conformance suite per port, as macros.
//!
//! A suite takes a name for its module and a closure that makes a fresh subject; every case becomes one `#[test]`. The
//! closure gets a folder of its own, which is gone after the case.
//!
//! ```
//! use std::sync::Arc;
//! use minions_core::memory::InMemoryFleet;
//!
//! minions_core::fleet_store_suite!(in_memory, async |_folder| Arc::new(InMemoryFleet::new()));
//! # fn main() {}
//! ```
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a case that fails panics, as a test does")]

mod drops;
pub mod fleet_store;
pub mod guest;
pub mod hypervisor;
pub mod invariants;
pub mod journal;
pub mod network;
mod run;
pub mod storage;
#[cfg(feature = "proptest")]
pub mod strategies;

mod world;

pub use run::{case, cx, skip, skipped};
pub use world::World;
