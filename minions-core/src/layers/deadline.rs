//! Bounds every call, with all its attempts.

use std::time::Duration;

use async_trait::async_trait;

use super::call::{Call, CallKind};
use super::policy::{Place, Policy};

/// Later than any caller's own deadline.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Ends calls that take too long with `DeadlineExceeded`. The caller's own deadline counts where it is earlier. Calls
/// that wait for something to happen are left to their caller's deadline.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Duration);

impl Deadline {
    /// Each call may take this long.
    #[must_use]
    pub const fn after(limit: Duration) -> Self {
        Self(limit)
    }
}

#[async_trait]
impl Policy for Deadline {
    fn place(&self) -> Place {
        Place::Deadline
    }

    fn time_limit(&self, call: &Call) -> Option<Duration> {
        Some(if call.kind == CallKind::Wait { FAR } else { self.0 })
    }
}
