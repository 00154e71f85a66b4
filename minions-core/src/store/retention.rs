//! What a fleet store may forget.

use crate::types::UnixMillis;

/// What one transaction may forget, and at most how much of it.
///
/// VMs and their tombstones are never forgotten, nor are operations that are pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Events that were told before this go, oldest first: one that stays keeps all behind it.
    pub events_before: UnixMillis,
    /// Of all events so many of the newest stay, however many there are to come; at least one always does.
    pub events_most: u64,
    /// Idempotency keys go whose operation ended before this; the operation itself stays.
    pub keys_before: UnixMillis,
    /// Operations go that ended before this and have no key.
    pub operations_before: UnixMillis,
    /// Operations that ended and have no key go too where so many were accepted after them.
    pub operations_most: u64,
    /// At most so many events, keys and operations each.
    pub limit: usize,
}

/// What one transaction has forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events.
    pub events: usize,
    /// Idempotency keys.
    pub keys: usize,
    /// Operations.
    pub operations: usize,
    /// Whether the limit was reached, so that there may be more.
    pub more: bool,
}
