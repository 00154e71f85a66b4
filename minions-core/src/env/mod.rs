//! What comes in from outside: time, identifiers, randomness. Nothing else in the crate reads the world on its own.

mod call;
mod manual;
mod system;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub use call::CallCx;
pub use manual::{ManualClock, SeededIds};
pub use system::{SystemClock, SystemIds};

use crate::types::{AgentSecret, OperationId, TokenId, UnixMillis, VmId};

/// Reads clocks. Sleeping goes through `tokio::time`, which tests pause.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Time since some fixed moment; never goes back. Every duration comes from it.
    fn monotonic(&self) -> Duration;
    /// Wall-clock time, for records and people only.
    fn wall(&self) -> UnixMillis;
}

/// Makes identifiers and secrets.
pub trait IdSource: Debug + Send + Sync + 'static {
    /// 128 bits: a clock first, then randomness, like UUID version 7.
    fn next_bits(&self) -> u128;
    /// 256 bits nobody can guess.
    fn next_secret(&self) -> [u8; 32];
}

/// The clock and the ids, handed to constructors.
#[derive(Clone, Debug)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers and secrets.
    pub ids: Arc<dyn IdSource>,
}

impl Env {
    /// The machine's own clock and randomness.
    #[must_use]
    pub fn system() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Self { ids: Arc::new(SystemIds::new(clock.clone())), clock }
    }

    /// A clock that follows tokio's (so that paused tests move it) and ids that follow from a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { clock: Arc::new(ManualClock::new()), ids: Arc::new(SeededIds::new(seed)) }
    }

    /// A new token's id.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        TokenId::from_bits(self.ids.next_bits())
    }

    /// A new VM's id.
    #[must_use]
    pub fn vm_id(&self) -> VmId {
        VmId::from_bits(self.ids.next_bits())
    }

    /// A new operation's id.
    #[must_use]
    pub fn operation_id(&self) -> OperationId {
        OperationId::from_bits(self.ids.next_bits())
    }

    /// A new VM's secret.
    #[must_use]
    pub fn agent_secret(&self) -> AgentSecret {
        AgentSecret::from_bytes(self.ids.next_secret())
    }
}
