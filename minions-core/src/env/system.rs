//! The machine's own clock and randomness.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Clock, IdSource};
use crate::types::UnixMillis;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Monotonic time counts from here.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn wall(&self) -> UnixMillis {
        // A clock before 1970 is shown as 1970: wall time is for people, nothing is decided by it.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Identifiers of the form of UUID version 7, from the operating system's randomness.
#[derive(Debug)]
pub struct SystemIds {
    clock: Arc<dyn Clock>,
}

impl SystemIds {
    /// Ids whose first 48 bits come from this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl IdSource for SystemIds {
    fn next_bits(&self) -> u128 {
        let random = u128::from_be_bytes(random());
        let clock = u128::from(self.clock.wall().0) & ((1 << 48) - 1);
        (clock << 80) | (random & ((1 << 80) - 1))
    }

    fn next_secret(&self) -> [u8; 32] {
        random()
    }
}

#[expect(clippy::expect_used, reason = "without randomness no id and no secret is safe to hand out")]
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
