//! Keeps a list of attempts, for tests.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::call::Call;
use super::policy::{Entered, Outcome, Place, Policy};
use crate::error::{ErrorKind, Result};

/// One attempt that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What was called.
    pub call: Call,
    /// What kind of error it ended with, if it did.
    pub error: Option<ErrorKind>,
}

/// Keeps every attempt in the order in which they ended. It grows without bound.
#[derive(Debug, Default)]
pub struct Record(Mutex<Vec<Recorded>>);

impl Record {
    /// What was recorded, which is forgotten by it.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names of what was recorded, in order.
    #[must_use]
    pub fn ops(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|recorded| recorded.call.op).collect()
    }
}

#[async_trait]
impl Policy for Record {
    fn place(&self) -> Place {
        Place::Record
    }

    async fn after(&self, call: &Call, _: Entered, outcome: Outcome<'_>) -> Result<()> {
        let recorded = Recorded { call: *call, error: outcome.error.map(crate::error::Error::kind) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
        Ok(())
    }
}
