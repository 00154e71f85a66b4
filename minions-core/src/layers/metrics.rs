//! Counts and measures every call.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::call::Call;
use super::policy::{Entered, Outcome, Place, Policy};
use crate::error::{ErrorKind, Result};

/// What is known of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpMetrics {
    /// Calls that ended; one with several attempts counts once.
    pub calls: u64,
    /// Those that failed, by kind.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// How long all of them took together.
    pub total: Duration,
    /// How long the longest took.
    pub longest: Duration,
    /// How many took at most as long as each of [`Metrics::BUCKETS`]; a longer one is in none.
    pub buckets: [u64; Metrics::BUCKETS.len()],
}

/// Counts and measures calls by operation. As large as there are methods, never larger.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<&'static str, OpMetrics>>);

impl Metrics {
    /// The bounds of the histogram, in milliseconds.
    pub const BUCKETS: [u64; 8] = [1, 5, 25, 100, 500, 2_500, 10_000, 60_000];

    /// What was counted up to now.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<&'static str, OpMetrics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Policy for Metrics {
    fn place(&self) -> Place {
        Place::Metrics
    }

    async fn after(&self, call: &Call, _: Entered, outcome: Outcome<'_>) -> Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let op = all.entry(call.op).or_default();
        op.calls += 1;
        op.total += outcome.elapsed;
        op.longest = op.longest.max(outcome.elapsed);
        for (bound, count) in Self::BUCKETS.iter().zip(&mut op.buckets) {
            *count += u64::from(outcome.elapsed <= Duration::from_millis(*bound));
        }
        if let Some(error) = outcome.error {
            *op.errors.entry(error.kind()).or_default() += 1;
        }
        Ok(())
    }
}
