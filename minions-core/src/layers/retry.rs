//! Repeats what is worth repeating.

use std::time::Duration;

use async_trait::async_trait;

use super::call::{Call, CallKind};
use super::policy::{Place, Policy};
use crate::error::{Effect, Error, ErrorKind};

/// Repeats calls that failed because their peer was down or busy: those that only look, and those that certainly did
/// nothing. After an unknown effect its caller must look first, and a conflict needs another plan: neither is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Most attempts, the first included.
    pub attempts: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub most: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 4, pause: Duration::from_millis(50), most: Duration::from_secs(2) }
    }
}

#[async_trait]
impl Policy for Retry {
    fn place(&self) -> Place {
        Place::Retry
    }

    fn retry(&self, call: &Call, error: &Error) -> Option<Duration> {
        let safe = call.kind == CallKind::Read || error.effect() == Effect::None;
        let worth = error.kind() == ErrorKind::Unavailable;
        let pause = self.pause.saturating_mul(1 << call.attempt.saturating_sub(1).min(16)).min(self.most);
        (safe && worth && call.attempt < self.attempts).then_some(pause)
    }
}
