//! Brings the goals of one host's journal about: observe, plan, execute one stage, observe again.
//!
//! # Guarantees
//! - Level-triggered: what is done next follows from the goal and from what the ports say, never from what was done
//!   before. What an engine knows besides is lost with it, and only makes it ask again.
//! - One run a VM at a time; a newer goal interrupts the waits of an older one.
//! - A VM is called running only after its guest has proven itself, and stopped only after its monitor was observed to
//!   be gone.
//! - Only a durable goal of absence removes a volume. What no row explains is set aside, never removed.

mod board;
mod drive;
mod execute;
mod observe;
mod orphans;
mod pace;
pub mod plan;
mod queue;
mod stage;
mod status;
mod step;
mod tell;

use std::sync::Arc;
use std::time::Duration;

pub use board::Board;
pub use observe::{Known, Observed};
pub use orphans::{Orphans, sweep};
pub use pace::Pace;
pub use step::Step;

use crate::env::{CallCx, Env};
use crate::error::Result;
use crate::guest::DynGuestChannel;
use crate::hypervisor::DynHypervisor;
use crate::mutant::{Mutant, planted};
use crate::network::DynNetwork;
use crate::storage::DynStorage;
use crate::store::journal::DynJournal;
use crate::store::{Accepted, GoalEntry};
use crate::types::VmId;

/// The ports of one host.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Monitors.
    pub hypervisor: DynHypervisor,
    /// Images and volumes.
    pub storage: DynStorage,
    /// Network ports.
    pub network: DynNetwork,
    /// The road into guests.
    pub guest: DynGuestChannel,
    /// Goals and leases.
    pub journal: DynJournal,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// One port call that changes something.
    pub step_limit: Duration,
    /// One port call that only reads.
    pub observe_limit: Duration,
    /// From the start of a guest until it has proven itself.
    pub boot_limit: Duration,
    /// A guest that runs already proves itself again, after a restart of the daemon.
    pub probe_limit: Duration,
    /// Tries of one stage before a start is given up.
    pub attempts: u32,
    /// The wait before the second try; doubles from try to try.
    pub backoff: Duration,
    /// The longest wait between tries.
    pub backoff_max: Duration,
    /// So many deaths of a monitor within `crash_window` are a crash loop.
    pub crash_limit: usize,
    /// See `crash_limit`.
    pub crash_window: Duration,
    /// How many VMs are worked on at a time. Waiting for guests does not count.
    pub parallel: usize,
    /// How often every row is looked at without a reason.
    pub resync: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            step_limit: Duration::from_secs(120),
            observe_limit: Duration::from_secs(20),
            boot_limit: Duration::from_secs(180),
            probe_limit: Duration::from_secs(5),
            attempts: 6,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            crash_limit: 10,
            crash_window: Duration::from_secs(60),
            parallel: 32,
            resync: Duration::from_secs(300),
        }
    }
}

/// The engine of one host. Dropping it ends all its work at once, wherever it is; a new one carries on.
#[derive(Debug)]
pub struct Engine {
    inner: Arc<drive::Inner>,
    resync: tokio::task::AbortHandle,
}

impl Engine {
    /// Sets aside what no row explains, then takes up every row of the journal.
    ///
    /// # Errors
    /// A journal that cannot be read, or one that explains nothing of a host that is not empty: `Denied` reason
    /// `journal_lost`. A sweep that fails otherwise is made up for later.
    pub async fn start(ports: Ports, env: Env, config: EngineConfig) -> Result<Self> {
        let inner = Arc::new(drive::Inner::new(ports, env, config));
        match sweep(&inner.ports, &CallCx::new("sweep", config.step_limit)).await {
            Err(error) if error.reason() == Some("journal_lost") => return Err(error),
            Err(error) => tracing::warn!(error = %error.chain(), "cannot look for orphans; will try again"),
            Ok(_) => {}
        }
        let weak = Arc::downgrade(&inner);
        let resync = tokio::spawn(async move {
            loop {
                tokio::time::sleep(config.resync).await;
                let Some(inner) = weak.upgrade() else { return };
                if let Err(error) = sweep(&inner.ports, &CallCx::new("sweep", config.step_limit)).await {
                    tracing::warn!(error = %error.chain(), "cannot look for orphans; will try again");
                }
                if planted(Mutant::NoReconcile) {
                    continue;
                }
                if let Err(error) = inner.wake_all().await {
                    tracing::warn!(error = %error.chain(), "cannot read the journal; will try again");
                }
            }
        })
        .abort_handle();
        // From here on it ends what it began: when it is dropped, half started, too.
        let engine = Self { inner, resync };
        if !planted(Mutant::NoReconcile) {
            engine.inner.wake_all().await?;
        }
        Ok(engine)
    }

    /// Makes an entry durable and begins to bring it about.
    pub async fn apply(&self, cx: &CallCx, entry: &GoalEntry) -> Result<Accepted> {
        let accepted = self.inner.ports.journal.accept(cx, entry, &self.inner.env.agent_secret()).await?;
        if let Accepted::Row(row) = &accepted {
            self.inner.announce(row);
            self.inner.wake(row.entry.vm);
        }
        Ok(accepted)
    }

    /// Looks at a VM again although nothing has happened that the engine knows of.
    pub fn nudge(&self, vm: VmId) {
        self.inner.wake(vm);
    }

    /// What is known of every VM.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.inner.board
    }

    /// The ports it works through.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    /// Sets aside what no row explains; see [`sweep`].
    pub async fn sweep(&self, cx: &CallCx) -> Result<Orphans> {
        sweep(&self.inner.ports, cx).await
    }

    /// Whether no work is under way or due.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.queue.is_idle()
    }

    /// Waits until no work is under way or due.
    pub async fn idle(&self) {
        self.inner.queue.idle().await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.resync.abort();
        self.inner.end();
    }
}
