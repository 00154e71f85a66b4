//! The policies in their order, and a call's way through them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Layered;
use super::call::Call;
use super::policy::{Entered, Outcome, Place, Policy};
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::guest::{DynGuestChannel, GuestChannel};
use crate::hypervisor::{DynHypervisor, Hypervisor};
use crate::network::{DynNetwork, Network};
use crate::node::{DynNode, Node};
use crate::storage::{DynStorage, Storage};
use crate::store::fleet::{DynFleetStore, FleetStore};
use crate::store::journal::{DynJournal, Journal};

/// A set of policies. Clones share their policies.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// In the order of their places.
    policies: Vec<Arc<dyn Policy>>,
}

impl Layers {
    /// No policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a policy.
    #[must_use]
    pub fn with(self, policy: impl Policy) -> Self {
        self.with_shared(Arc::new(policy))
    }

    /// Adds a policy that someone else looks at too.
    #[must_use]
    pub fn with_shared(mut self, policy: Arc<dyn Policy>) -> Self {
        let at = self.policies.partition_point(|known| known.place() <= policy.place());
        self.policies.insert(at, policy);
        self
    }

    /// Where its policies stand, the outermost first.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.policies.iter().map(|policy| policy.place()).collect()
    }

    /// Around a hypervisor.
    #[must_use]
    pub fn hypervisor(&self, port: Arc<dyn Hypervisor>) -> DynHypervisor {
        Arc::new(Layered::new(port, self.clone()))
    }

    /// Around a storage.
    #[must_use]
    pub fn storage(&self, port: Arc<dyn Storage>) -> DynStorage {
        Arc::new(Layered::new(port, self.clone()))
    }

    /// Around a network.
    #[must_use]
    pub fn network(&self, port: Arc<dyn Network>) -> DynNetwork {
        Arc::new(Layered::new(port, self.clone()))
    }

    /// Around a guest channel.
    #[must_use]
    pub fn guest(&self, port: Arc<dyn GuestChannel>) -> DynGuestChannel {
        Arc::new(Layered::new(port, self.clone()))
    }

    /// Around a fleet store.
    #[must_use]
    pub fn fleet_store(&self, port: Arc<dyn FleetStore>) -> DynFleetStore {
        Arc::new(Layered::new(port, self.clone()))
    }

    /// Around a journal.
    #[must_use]
    pub fn journal(&self, port: Arc<dyn Journal>) -> DynJournal {
        Arc::new(Layered::new(port, self.clone()))
    }

    /// Around a node.
    #[must_use]
    pub fn node(&self, port: Arc<dyn Node>) -> DynNode {
        Arc::new(Layered::new(port, self.clone()))
    }

    /// One call with all its attempts.
    pub(super) async fn run<T, F>(&self, cx: &CallCx, mut call: Call, port: impl Fn(CallCx) -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let limit = self.policies.iter().filter_map(|policy| policy.time_limit(&call)).min();
        let cx = limit.map_or(*cx, |limit| cx.at_most(limit));
        call.attempt = cx.attempt;
        let first_inner = self.policies.partition_point(|policy| policy.place() < Place::Retry);
        let (outer, inner) = self.policies.split_at(first_inner);
        let op = call.op;
        around(outer, &mut call.clone(), false, async {
            loop {
                let mut cx = cx;
                cx.attempt = call.attempt;
                let attempt = around(inner, &mut call, true, port(cx));
                let result = match limit {
                    None => attempt.await,
                    Some(_) => tokio::time::timeout_at(cx.deadline, attempt)
                        .await
                        .unwrap_or_else(|_| Err(Error::new(ErrorKind::DeadlineExceeded, "the deadline passed"))),
                };
                let Err(error) = &result else { return result };
                let pause: Option<Duration> = inner.iter().find_map(|policy| policy.retry(&call, error));
                match pause.filter(|pause| *pause < cx.left()) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return result,
                }
                call.attempt += 1;
            }
        })
        .await
        .map_err(|error| error.with_op(op))
    }
}

/// Enters policies, does the work, and leaves them the other way round.
async fn around<T>(
    policies: &[Arc<dyn Policy>],
    call: &mut Call,
    may_interrupt: bool,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if policies.is_empty() {
        return work.await;
    }
    let begun = Instant::now();
    let mut entered: Vec<Entered> = Vec::with_capacity(policies.len());
    let mut result = Ok(());
    for policy in policies {
        match policy.before(call).await {
            Ok(held) => entered.push(held),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    let mut result = match result {
        Ok(()) if may_interrupt && entered.iter().any(|held| held.interrupt) => interrupted(work).await,
        Ok(()) => work.await,
        Err(error) => Err(error),
    };
    // Whoever refused the call was not entered, and does not hear of its end.
    for policy in policies[..entered.len()].iter().rev() {
        let held = entered.pop().unwrap_or_default();
        let outcome = Outcome { error: result.as_ref().err(), elapsed: begun.elapsed() };
        if let Err(error) = policy.after(call, held, outcome).await {
            result = Err(error);
        }
    }
    result
}

/// Does the first part of the work, up to where it waits, and never returns.
async fn interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    {
        let mut work = std::pin::pin!(work);
        // What it brings is lost with its process.
        std::future::poll_fn(|cx| std::task::Poll::Ready(work.as_mut().poll(cx).is_ready())).await;
    }
    std::future::pending().await
}
