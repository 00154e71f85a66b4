//! The one stream of events, for as long as the process lives.

use std::collections::{HashMap, VecDeque};

use crate::error::{Error, Result};
use crate::store::fleet::{Event, EventQuery, NewEvent, Owner};
use crate::store::retention::Prune;
use crate::types::EventSeq;

/// Events in their places: the first that is kept follows on those that were forgotten.
#[derive(Debug, Default)]
pub(super) struct Events {
    forgotten: u64,
    kept: VecDeque<NewEvent>,
    /// The places of each owner's, of those that are kept.
    owned: HashMap<Owner, VecDeque<u64>>,
}

impl Events {
    pub(super) fn last(&self) -> EventSeq {
        EventSeq(self.forgotten.saturating_add(u64::try_from(self.kept.len()).unwrap_or(u64::MAX)))
    }

    pub(super) fn extend(&mut self, events: &[NewEvent]) {
        for event in events {
            self.kept.push_back(event.clone());
            let place = self.last().0;
            self.owned.entry(event.owner.clone()).or_default().push_back(place);
        }
    }

    pub(super) fn after(&self, query: &EventQuery) -> Result<Vec<Event>> {
        let (place, limit) = (query.after, query.limit);
        if place.0 > 0 && place.0 < self.forgotten {
            let message =
                format!("events up to place {} are no longer kept; look anew, and go on from there", self.forgotten);
            return Err(Error::not_found(message).with_reason("events_pruned").with_field("after"));
        }
        let nth = |place: u64| usize::try_from(place.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let told = |seq: u64, event: &NewEvent| Event { seq: EventSeq(seq), event: event.clone() };
        let Some(of) = &query.of else {
            let later = self.kept.iter().zip(self.forgotten + 1..).skip(nth(place.0)).take(limit);
            return Ok(later.map(|(event, seq)| told(seq, event)).collect());
        };
        let Some(theirs) = self.owned.get(of) else { return Ok(Vec::new()) };
        let later = theirs.range(theirs.partition_point(|seq| *seq <= place.0)..).take(limit);
        Ok(later.filter_map(|seq| self.kept.get(nth(*seq) - 1).map(|event| told(*seq, event))).collect())
    }

    /// How many it has forgotten.
    pub(super) fn prune(&mut self, prune: &Prune) -> usize {
        let most = usize::try_from(prune.events_most).unwrap_or(usize::MAX).max(1);
        let crowd = self.kept.len().saturating_sub(most);
        let old = self.kept.iter().take_while(|event| event.at < prune.events_before).count();
        let gone = crowd.max(old).min(self.kept.len().saturating_sub(1)).min(prune.limit);
        for event in self.kept.drain(..gone) {
            if let Some(theirs) = self.owned.get_mut(&event.owner) {
                theirs.pop_front();
                if theirs.is_empty() {
                    self.owned.remove(&event.owner);
                }
            }
        }
        self.forgotten = self.forgotten.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
        gone
    }
}
