//! Makes chosen calls go wrong, in ways that real ones do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::call::{Call, CallKind};
use super::policy::{Entered, Held, Outcome, Place, Policy};
use crate::error::{Effect, Error, ErrorKind, Result};

/// How a call goes wrong. The numbers are those of the promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// FK-1: it fails before anything happened.
    ErrorBefore,
    /// FK-2: it happens, and fails all the same; whether it happened is unknown.
    ErrorAfter,
    /// FK-2: it happens, and its answer comes too late.
    TimeoutAfter,
    /// FK-3: the process ends before it.
    CrashBefore,
    /// FK-4: the process ends after it, before anyone hears of it.
    CrashAfter,
    /// FK-5: the process ends in the middle of it, wherever it first waits.
    CrashWithin,
    /// FK-6: it hangs until its deadline, and nothing happens.
    Hang,
    /// FK-7: the VM's monitor dies just before it.
    VmmDies,
    /// FK-9: something is full.
    Exhausted,
    /// FK-10: someone else has it open, or changed it meanwhile.
    Conflict,
    /// FK-10: something of that name exists, and differs.
    AlreadyExists,
    /// FK-11: the store is busy or gone.
    StoreUnavailable,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 12] = [
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::TimeoutAfter,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::CrashWithin,
        Self::Hang,
        Self::VmmDies,
        Self::Exhausted,
        Self::Conflict,
        Self::AlreadyExists,
        Self::StoreUnavailable,
    ];

    /// Its number in the promises.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::ErrorBefore => "FK-1",
            Self::ErrorAfter | Self::TimeoutAfter => "FK-2",
            Self::CrashBefore => "FK-3",
            Self::CrashAfter => "FK-4",
            Self::CrashWithin => "FK-5",
            Self::Hang => "FK-6",
            Self::VmmDies => "FK-7",
            Self::Exhausted => "FK-9",
            Self::Conflict | Self::AlreadyExists => "FK-10",
            Self::StoreUnavailable => "FK-11",
        }
    }

    /// Whether the process ends with it.
    #[must_use]
    pub const fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter | Self::CrashWithin)
    }

    /// Whether a call can go wrong in this way.
    #[must_use]
    pub fn applies_to(self, call: &Call) -> bool {
        let store = matches!(call.port(), "fleet_store" | "journal");
        match self {
            Self::StoreUnavailable => store,
            Self::Exhausted | Self::Conflict | Self::AlreadyExists => call.kind == CallKind::Change && !store,
            Self::VmmDies => call.vm.is_some() && !store,
            Self::ErrorAfter | Self::TimeoutAfter | Self::CrashAfter | Self::CrashWithin => {
                call.kind == CallKind::Change
            }
            Self::ErrorBefore | Self::CrashBefore | Self::Hang => true,
        }
    }

    fn error(self) -> Error {
        let (kind, effect) = match self {
            Self::ErrorAfter => (ErrorKind::Unavailable, Effect::Unknown),
            Self::TimeoutAfter => (ErrorKind::DeadlineExceeded, Effect::Unknown),
            Self::Exhausted => (ErrorKind::Exhausted, Effect::None),
            Self::Conflict => (ErrorKind::Conflict, Effect::None),
            Self::AlreadyExists => (ErrorKind::AlreadyExists, Effect::None),
            _ => (ErrorKind::Unavailable, Effect::None),
        };
        Error::new(kind, format!("a planned fault: {}", self.id())).with_effect(effect)
    }
}

/// Ends a VM's monitor behind everyone's back.
type KillVmm = Arc<dyn Fn(&Call) + Send + Sync>;

/// Which calls go wrong, shared by everyone who counts them. Clones are the same plan.
#[derive(Clone)]
pub struct FaultPlan {
    state: Arc<Mutex<State>>,
    crashed: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct State {
    /// Every call that was counted, in order.
    calls: Vec<Call>,
    /// What is still to go wrong, by the number of the call, the first being 0.
    planned: BTreeMap<usize, Fault>,
    /// What went wrong.
    hit: Vec<(usize, Fault)>,
    kill_vmm: Option<KillVmm>,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FaultPlan").field("calls", &state.calls.len()).field("planned", &state.planned).finish()
    }
}

impl FaultPlan {
    /// Nothing goes wrong: a dry run, which tells how many calls there are.
    #[must_use]
    pub fn none() -> Self {
        Self { state: Arc::default(), crashed: Arc::new(watch::Sender::new(false)) }
    }

    /// The `k`-th call goes wrong, the first being 0.
    #[must_use]
    pub fn at(k: usize, fault: Fault) -> Self {
        Self::none().and(k, fault)
    }

    /// Another call goes wrong too.
    #[must_use]
    pub fn and(self, k: usize, fault: Fault) -> Self {
        self.state().planned.insert(k, fault);
        self
    }

    /// What ends a VM's monitor for [`Fault::VmmDies`].
    #[must_use]
    pub fn kills_with(self, kill: impl Fn(&Call) + Send + Sync + 'static) -> Self {
        self.state().kill_vmm = Some(Arc::new(kill));
        self
    }

    /// Every call that was counted, in order. The `k`-th is the one that a plan for `k` makes go wrong.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many calls were counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().calls.len()
    }

    /// What went wrong up to now.
    #[must_use]
    pub fn hits(&self) -> Vec<(usize, Fault)> {
        self.state().hit.clone()
    }

    /// Whether something planned has not gone wrong.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.state().planned.is_empty()
    }

    /// Whether the process was said to have ended. From then on no call returns.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        *self.crashed.borrow()
    }

    /// Waits until the process is said to have ended. The harness then drops everything that belongs to it.
    pub async fn crashed(&self) {
        let mut crashed = self.crashed.subscribe();
        // The sender lives as long as this plan: the wait cannot fail.
        let _ = crashed.wait_for(|crashed| *crashed).await;
    }

    /// Ends the process now, whichever call comes next.
    pub fn crash(&self) {
        self.crashed.send_replace(true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and says what shall become of it.
    fn next(&self, call: &Call) -> (Option<Fault>, Option<KillVmm>) {
        let mut state = self.state();
        let k = state.calls.len();
        state.calls.push(*call);
        let fault = state.planned.remove(&k);
        if let Some(fault) = fault {
            state.hit.push((k, fault));
        }
        (fault, state.kill_vmm.clone())
    }
}

/// Carries out a [`FaultPlan`].
#[derive(Debug, Default)]
pub struct Faults {
    plan: FaultPlan,
}

impl Faults {
    /// For a plan. Ports that share it are counted together.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        Self { plan }
    }

    async fn crash<T>(&self) -> T {
        self.plan.crash();
        std::future::pending().await
    }
}

#[async_trait]
impl Policy for Faults {
    fn place(&self) -> Place {
        Place::Faults
    }

    async fn before(&self, call: &Call) -> Result<Entered> {
        if self.plan.has_crashed() {
            // A process that has ended does nothing more.
            return std::future::pending().await;
        }
        let (fault, kill_vmm) = self.plan.next(call);
        let Some(fault) = fault else { return Ok(Entered::default()) };
        match fault {
            Fault::ErrorAfter | Fault::TimeoutAfter | Fault::CrashAfter => {
                Ok(Entered { held: Some(Held(Box::new(fault))), interrupt: false })
            }
            Fault::CrashBefore => self.crash().await,
            Fault::CrashWithin => {
                self.plan.crash();
                Ok(Entered { held: None, interrupt: true })
            }
            Fault::Hang => std::future::pending().await,
            Fault::VmmDies => {
                if let Some(kill) = kill_vmm {
                    kill(call);
                }
                Ok(Entered::default())
            }
            Fault::ErrorBefore
            | Fault::Exhausted
            | Fault::Conflict
            | Fault::AlreadyExists
            | Fault::StoreUnavailable => Err(fault.error()),
        }
    }

    async fn after(&self, _call: &Call, entered: Entered, outcome: Outcome<'_>) -> Result<()> {
        if self.plan.has_crashed() {
            return std::future::pending().await;
        }
        let fault = entered.held.and_then(|held| held.0.downcast::<Fault>().ok()).map(|fault| *fault);
        match fault {
            Some(Fault::CrashAfter) => self.crash().await,
            // What failed by itself needs no help.
            Some(fault) if outcome.error.is_none() => Err(fault.error()),
            _ => Ok(()),
        }
    }
}
