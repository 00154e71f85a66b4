//! What nobody needs any more is forgotten, a bounded part at a time.

use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use crate::env::CallCx;
use crate::store::retention::{Prune, Pruned};
use crate::types::UnixMillis;

/// How long what has happened is kept. VMs are not concerned, nor their tombstones, nor what is still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long events are kept.
    pub events_for: Duration,
    /// How many events are kept, however young the others are.
    pub events_most: u64,
    /// How long, after the operation ended, an idempotency key stands for it: until then a repeat is harmless.
    pub keys_for: Duration,
    /// How long operations are kept that ended; never less than their keys.
    pub operations_for: Duration,
    /// Operations that ended are kept for less time where so many came after them and their keys have lapsed.
    pub operations_most: u64,
    /// How often it is looked what may go.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        Self {
            events_for: 7 * DAY,
            events_most: 100_000,
            keys_for: DAY,
            operations_for: 7 * DAY,
            operations_most: 100_000,
            every: Duration::from_secs(300),
        }
    }
}

/// Rows of a kind in one transaction: others who write wait for no more than that.
const TURN: usize = 500;

impl Retention {
    /// Pure: what may go at this time.
    fn prune(&self, now: UnixMillis) -> Prune {
        let before =
            |kept: Duration| UnixMillis(now.0.saturating_sub(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX)));
        Prune {
            events_before: before(self.events_for),
            events_most: self.events_most,
            keys_before: before(self.keys_for),
            operations_before: before(self.operations_for.max(self.keys_for)),
            operations_most: self.operations_most,
            limit: TURN,
        }
    }
}

/// Forgets for ever. What is kept too long for want of a store goes the next time.
pub(super) async fn forget(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(inner.config.retention.every).await;
        let mut more = true;
        while more {
            let cx = CallCx::new("forget", inner.config.store_limit);
            let prune = inner.config.retention.prune(inner.env.clock.wall());
            more = match inner.store.prune(&cx, &prune).await {
                Ok(Pruned { more, .. }) => more,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "cannot forget what is old; will try again");
                    false
                }
            };
        }
    }
}
