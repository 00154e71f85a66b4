//! What goes along with every call of a port.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};

/// The deadline, the operation and the attempt of one port call.
#[derive(Clone, Copy, Debug)]
pub struct CallCx {
    /// When the caller stops waiting, on tokio's clock.
    pub deadline: Instant,
    /// What the call is for, such as `create`; for traces, metrics and errors.
    pub op: &'static str,
    /// 1 for the first try.
    pub attempt: u32,
}

impl CallCx {
    /// A first attempt that may take this long.
    #[must_use]
    pub fn new(op: &'static str, limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, op, attempt: 1 }
    }

    /// How long is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The same call with a deadline that is no later than this long from now.
    #[must_use]
    pub fn at_most(mut self, limit: Duration) -> Self {
        self.deadline = self.deadline.min(Instant::now() + limit);
        self
    }

    /// Runs a future until the deadline; after it, whether it took effect is not known.
    pub async fn bound<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout_at(self.deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::DeadlineExceeded, "the deadline passed")),
        }
    }
}
