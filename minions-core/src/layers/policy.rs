//! What a policy may do to a call.

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::call::Call;
use crate::error::{Error, Result};

/// Where a policy stands; the first is the outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Counts and measures the whole call.
    Metrics,
    /// Tells of the whole call.
    Trace,
    /// Bounds the whole call.
    Deadline,
    /// Repeats it. What stands above sees the call once, what stands below each attempt.
    Retry,
    /// Lets only so many attempts through at a time.
    Limit,
    /// Makes attempts slower.
    Latency,
    /// Keeps a list of attempts.
    Record,
    /// Makes attempts go wrong.
    Faults,
}

/// What a policy holds while a call is on its way.
#[derive(Debug, Default)]
pub struct Entered {
    /// Dropped when the call has ended.
    pub held: Option<Held>,
    /// The call goes on until it first waits, and then never again: as if its process had ended there.
    pub interrupt: bool,
}

/// Something that is given back when a call has ended.
pub struct Held(pub Box<dyn Any + Send>);

impl Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held(…)")
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// Why it failed, if it did.
    pub error: Option<&'a Error>,
    /// How long it took.
    pub elapsed: Duration,
}

/// One concern around every port.
#[async_trait]
pub trait Policy: Debug + Send + Sync + 'static {
    /// Where it stands.
    fn place(&self) -> Place;

    /// The longest that a call may take with all its attempts.
    fn time_limit(&self, _call: &Call) -> Option<Duration> {
        None
    }

    /// Before the call goes on. It may wait; an error ends the call, and nothing below hears of it.
    async fn before(&self, _call: &Call) -> Result<Entered> {
        Ok(Entered::default())
    }

    /// After the call has ended. It may wait; an error takes the place of the result.
    /// `entered` is what [`before`](Self::before) gave.
    async fn after(&self, _call: &Call, _entered: Entered, _outcome: Outcome<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether to try again after an error, and after how long.
    fn retry(&self, _call: &Call, _error: &Error) -> Option<Duration> {
        None
    }
}
