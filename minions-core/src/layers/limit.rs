//! Lets only so many calls through at a time.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::call::{Call, CallKind};
use super::policy::{Entered, Held, Place, Policy};
use crate::error::{Error, Result};

/// Calls beyond the limit wait for their turn, within their deadline. Those that wait for something to happen are not
/// counted: they would hold their turn for hours.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Semaphore>);

impl Limit {
    /// This many at a time, over all ports that it is put around; at least one.
    #[must_use]
    pub fn to(calls: usize) -> Self {
        Self(Arc::new(Semaphore::new(calls.clamp(1, Semaphore::MAX_PERMITS))))
    }
}

#[async_trait]
impl Policy for Limit {
    fn place(&self) -> Place {
        Place::Limit
    }

    async fn before(&self, call: &Call) -> Result<Entered> {
        if call.kind == CallKind::Wait {
            return Ok(Entered::default());
        }
        let closed = |error| Error::internal("nobody closes this semaphore").with_source(error);
        let turn = self.0.clone().acquire_owned().await.map_err(closed)?;
        Ok(Entered { held: Some(Held(Box::new(turn))), interrupt: false })
    }
}
