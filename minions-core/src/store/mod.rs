//! Port 5: durable intent, as two small traits. [`FleetStore`] keeps what people asked for; [`Journal`] keeps what one
//! host has taken on and lent out.

pub mod fleet;
pub mod journal;
pub mod people;
pub mod retention;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use fleet::{
    Access, Event, EventKind, EventQuery, FleetChange, FleetStore, Guard, NewEvent, OperationRow, OperationState,
    Owner, VmQuery, VmRow, Write,
};
pub use journal::{Accepted, GoalEntry, Journal, JournalRow, LeasePool, Outcome, Tombstone};
pub use people::{AuditRow, KeyRow, NewAudit, People, PeopleWrite, TokenRow, UserRow};
pub use retention::{Prune, Pruned};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteFleet, SqliteJournal};
