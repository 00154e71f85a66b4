//! Tells of every call.

use async_trait::async_trait;

use super::call::Call;
use super::policy::{Entered, Outcome, Place, Policy};
use crate::error::Result;

/// Logs calls as they begin and end: failures at the level `warn`, all else at `debug`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace;

#[async_trait]
impl Policy for Trace {
    fn place(&self) -> Place {
        Place::Trace
    }

    async fn before(&self, call: &Call) -> Result<Entered> {
        tracing::debug!(op = call.op, vm = ?call.vm, "begins");
        Ok(Entered::default())
    }

    async fn after(&self, call: &Call, _: Entered, outcome: Outcome<'_>) -> Result<()> {
        let micros = u64::try_from(outcome.elapsed.as_micros()).unwrap_or(u64::MAX);
        match outcome.error {
            None => tracing::debug!(op = call.op, vm = ?call.vm, micros, "done"),
            Some(error) => {
                tracing::warn!(op = call.op, vm = ?call.vm, micros, kind = %error.kind(), error = %error.chain(), "failed");
            }
        }
        Ok(())
    }
}
