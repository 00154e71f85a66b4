//! Durable intent in SQLite: one file for the fleet, one for the journal of a host.
//!
//! Every change is answered after a commit with `synchronous=FULL`; many callers share one commit. The files are private
//! to one process at a time, which a lock beside each of them enforces. Opening refuses what is damaged, newer than this
//! program, or another program's; an older file is backed up beside itself and then brought up to date in one
//! transaction.

mod backup;
mod batch;
mod column;
mod database;
mod error;
mod fleet;
mod fleet_prune;
mod fleet_read;
mod fleet_write;
mod journal;
mod lease;
mod log;
mod open;
mod people;
mod read;
mod schema;
#[cfg(test)]
mod tests;

pub use fleet::SqliteFleet;
pub use journal::SqliteJournal;
