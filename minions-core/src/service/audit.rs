//! What the audit log is told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::caller::Caller;
use crate::api::v1;
use crate::store::Owner;
use crate::store::people::{AuditRow, NewAudit};
use crate::types::UnixMillis;

/// Something that a caller did, or was refused.
pub(super) fn entry(
    caller: &Caller,
    action: &str,
    target: impl Into<String>,
    outcome: &str,
    at: UnixMillis,
) -> NewAudit {
    let (who, action, target) = (caller.owner.clone(), action.to_owned(), target.into());
    NewAudit { at, who, action, target, outcome: outcome.to_owned() }
}

/// An entry as it is shown.
pub(super) fn shown(row: AuditRow) -> v1::AuditEntry {
    let AuditRow { seq, entry, hash } = row;
    v1::AuditEntry {
        seq,
        at: entry.at,
        who: entry.who.0,
        action: entry.action,
        target: entry.target,
        outcome: entry.outcome,
        hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// How many refusals of one caller the log keeps in a minute: a log that only grows is not for everybody to fill.
const REFUSALS_A_MINUTE: u32 = 20;

/// Callers whose refusals are counted at a time.
const MAX_COUNTED: usize = 1_000;

/// Counts refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<(u64, HashMap<Owner, u32>)>);

impl Refusals {
    /// Whether one more of this caller's is kept.
    pub(super) fn keep(&self, who: &Owner, at: UnixMillis) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = at.0 / 60_000;
        if counted.0 != minute {
            *counted = (minute, HashMap::new());
        }
        if counted.1.len() >= MAX_COUNTED && !counted.1.contains_key(who) {
            return false;
        }
        let count = counted.1.entry(who.clone()).or_default();
        *count = count.saturating_add(1);
        *count <= REFUSALS_A_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_fills_the_log_no_faster_than_so_and_keeps_nobody_else_out_of_it() {
        let (refusals, now) = (Refusals::default(), UnixMillis(60_000));
        let kept = |name: &str, at| (0..100).filter(|_| refusals.keep(&Owner(name.to_owned()), at)).count();
        assert_eq!(kept("eve", now), REFUSALS_A_MINUTE as usize);
        assert_eq!(kept("eve", UnixMillis(119_999)), 0);
        assert_eq!(kept("ada", now), REFUSALS_A_MINUTE as usize);
        assert_eq!(kept("eve", UnixMillis(120_000)), REFUSALS_A_MINUTE as usize);
    }
}
