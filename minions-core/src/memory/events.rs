//! The one stream of events, for as long as the process lives.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::store::fleet::{Event, NewEvent};
use crate::store::retention::Prune;
use crate::types::EventSeq;

/// Events in their places: the first that is kept follows on those that were forgotten.
#[derive(Debug, Default)]
pub(super) struct Events {
    forgotten: u64,
    kept: VecDeque<NewEvent>,
}

impl Events {
    pub(super) fn last(&self) -> EventSeq {
        EventSeq(self.forgotten.saturating_add(u64::try_from(self.kept.len()).unwrap_or(u64::MAX)))
    }

    pub(super) fn extend(&mut self, events: &[NewEvent]) {
        self.kept.extend(events.iter().cloned());
    }

    pub(super) fn after(&self, place: EventSeq, limit: usize) -> Result<Vec<Event>> {
        if place.0 > 0 && place.0 < self.forgotten {
            let message =
                format!("events up to place {} are no longer kept; look anew, and go on from there", self.forgotten);
            return Err(Error::not_found(message).with_reason("events_pruned").with_field("after"));
        }
        let skip = usize::try_from(place.0.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let later = self.kept.iter().zip(self.forgotten + 1..).skip(skip).take(limit);
        Ok(later.map(|(event, seq)| Event { seq: EventSeq(seq), event: event.clone() }).collect())
    }

    /// How many it has forgotten.
    pub(super) fn prune(&mut self, prune: &Prune) -> usize {
        let most = usize::try_from(prune.events_most).unwrap_or(usize::MAX).max(1);
        let crowd = self.kept.len().saturating_sub(most);
        let old = self.kept.iter().take_while(|event| event.at < prune.events_before).count();
        let gone = crowd.max(old).min(self.kept.len().saturating_sub(1)).min(prune.limit);
        self.kept.drain(..gone);
        self.forgotten = self.forgotten.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
        gone
    }
}
