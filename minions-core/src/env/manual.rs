//! A clock and ids that tests steer.

use std::sync::Mutex;
use std::time::Duration;

use super::{Clock, IdSource};
use crate::types::UnixMillis;

/// Follows tokio's clock, so that a paused test moves it; wall time begins in 2026.
#[derive(Debug)]
pub struct ManualClock {
    start: tokio::time::Instant,
}

impl ManualClock {
    /// The wall time at which every such clock begins.
    pub const EPOCH: UnixMillis = UnixMillis(1_767_225_600_000);

    /// Counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(Self::EPOCH.0 + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(0))
    }
}

/// The same seed gives the same ids.
#[derive(Debug)]
pub struct SeededIds(Mutex<u64>);

impl SeededIds {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// SplitMix64: tiny, and every seed gives a different sequence.
    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl IdSource for SeededIds {
    fn next_bits(&self) -> u128 {
        (u128::from(self.next()) << 64) | u128::from(self.next())
    }

    fn next_secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        for chunk in secret.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        secret
    }
}
