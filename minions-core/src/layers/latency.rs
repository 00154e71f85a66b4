//! Makes ports slower than they are.

use std::time::Duration;

use async_trait::async_trait;

use super::call::Call;
use super::policy::{Entered, Place, Policy};
use crate::error::Result;

/// Adds the same time to every attempt, on tokio's clock.
#[derive(Clone, Copy, Debug)]
pub struct Latency(Duration);

impl Latency {
    /// This much.
    #[must_use]
    pub const fn of(time: Duration) -> Self {
        Self(time)
    }
}

#[async_trait]
impl Policy for Latency {
    fn place(&self) -> Place {
        Place::Latency
    }

    async fn before(&self, _call: &Call) -> Result<Entered> {
        tokio::time::sleep(self.0).await;
        Ok(Entered::default())
    }
}
