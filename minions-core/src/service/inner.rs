//! What the use cases, the pusher and the follower share.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OnceCell, watch};

use super::audit::{self, Refusals};
use super::caller::Caller;
use super::convert;
use super::limits::Quota;
use super::local::ServiceConfig;
use super::waiters::Waiters;
use crate::api::v1;
use crate::env::{CallCx, Env};
use crate::error::{Error, Result};
use crate::node::{DynNode, NodeInfo, NodeVm, Settled};
use crate::store::fleet::DynFleetStore;
use crate::store::people::DynPeople;
use crate::store::{FleetChange, Owner, VmRow};
use crate::types::{EventSeq, Goal, VmId, VmState};

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: DynFleetStore,
    pub(super) node: DynNode,
    /// Who has a quota of their own.
    pub(super) people: Option<DynPeople>,
    pub(super) refusals: Refusals,
    pub(super) env: Env,
    pub(super) config: ServiceConfig,
    pub(super) push: Notify,
    pub(super) waiters: Waiters,
    pub(super) latest: watch::Sender<EventSeq>,
    able: OnceCell<NodeInfo>,
    reports: Mutex<Reports>,
}

/// By VM.
#[derive(Debug, Default)]
struct Reports {
    /// What the host said last.
    latest: HashMap<VmId, NodeVm>,
    /// The state that readers of the events were told last.
    told: HashMap<VmId, VmState>,
    /// Shown to somebody before the host had said anything of them: what it says then is news, also where it is what
    /// was told long ago.
    unheard: HashSet<VmId>,
}

impl Inner {
    pub(super) fn new(
        store: DynFleetStore,
        people: Option<DynPeople>,
        node: DynNode,
        env: Env,
        config: ServiceConfig,
    ) -> Self {
        Self {
            store,
            people,
            refusals: Refusals::default(),
            node,
            env,
            config,
            push: Notify::new(),
            waiters: Waiters::default(),
            latest: watch::Sender::new(EventSeq(0)),
            able: OnceCell::new(),
            reports: Mutex::default(),
        }
    }

    /// What the host can do, which does not change while it lives: asked once, not for each request. How full it was
    /// at that time is worth nothing.
    pub(super) async fn able(&self, cx: &CallCx) -> Result<&NodeInfo> {
        self.able.get_or_try_init(|| self.node.info(cx)).await
    }

    /// What an owner may have in all: their own quota, or everybody's.
    pub(super) async fn quota(&self, owner: &Owner) -> Result<Quota> {
        let Some(people) = &self.people else { return Ok(self.config.quota) };
        let user = people.user(&CallCx::new("quota", self.config.store_limit), owner).await?;
        Ok(user.and_then(|user| user.quota).unwrap_or(self.config.quota))
    }

    /// Where people are kept, nobody is given anything who has no account.
    pub(super) async fn account(&self, owner: &Owner) -> Result<()> {
        let Some(people) = &self.people else { return Ok(()) };
        let user = people.user(&CallCx::new("account", self.config.store_limit), owner).await?;
        if user.is_some_and(|user| user.deleted.is_none()) {
            return Ok(());
        }
        let message = format!("there is no user {owner}; add one: minions user add {owner}");
        Err(Error::not_found(message).with_reason("user_unknown").with_field("owner"))
    }

    /// Tells the audit log that somebody was refused, unless it has heard that often enough.
    pub(super) async fn refused(&self, caller: &Caller, action: &str, target: String, error: &Error) {
        let now = self.env.clock.wall();
        if !self.refusals.keep(&caller.owner, now) {
            return;
        }
        let outcome = error.reason().unwrap_or(error.kind().as_str());
        let entry = audit::entry(caller, action, target, outcome, now);
        let change = FleetChange { audit: vec![entry], ..FleetChange::default() };
        let cx = CallCx::new("audit", self.config.store_limit);
        if let Err(error) = self.store.commit(&cx, &change).await {
            tracing::warn!(who = %caller.owner, action, error = %error.chain(), "a refusal is not in the audit log");
        }
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the host said last.
    pub(super) fn report(&self, vm: VmId) -> Option<NodeVm> {
        self.reports().latest.get(&vm).cloned()
    }

    /// A VM as it is shown now. Who sees one that the host has said nothing of yet is told once it has.
    pub(super) fn shown(&self, row: &VmRow) -> v1::Vm {
        let mut reports = self.reports();
        let report = reports.latest.get(&row.id).cloned();
        if report.is_none() && row.deleted.is_none() {
            reports.unheard.insert(row.id);
        }
        drop(reports);
        convert::vm(row, report.as_ref())
    }

    /// Whether the host's last word is that the goal is met.
    pub(super) fn met(&self, row: &VmRow) -> bool {
        self.report(row.id).is_some_and(|report| {
            let as_asked = match row.goal {
                Goal::Running { .. } => report.state == VmState::Running,
                Goal::Stopped { .. } => report.state == VmState::Stopped,
                Goal::Absent { .. } => false,
            };
            as_asked && report.generation == row.generation
        })
    }

    /// Keeps what the host said, unless something newer is known.
    pub(super) fn keep(&self, report: &NodeVm) {
        let mut reports = self.reports();
        if report.settled == Some(Settled::Gone) {
            reports.latest.remove(&report.vm);
        } else if reports.latest.get(&report.vm).is_none_or(|known| known.generation <= report.generation) {
            reports.latest.insert(report.vm, report.clone());
        }
    }

    /// The state that readers know of: what the events said last, unless they have been shown less since.
    pub(super) fn told(&self, vm: VmId) -> Option<VmState> {
        let reports = self.reports();
        reports.told.get(&vm).filter(|_| !reports.unheard.contains(&vm)).copied()
    }

    /// What the events of an earlier service said of a VM: its state, or `None` where it is gone.
    pub(super) fn recall(&self, vm: VmId, state: Option<VmState>) {
        let told = &mut self.reports().told;
        match state {
            Some(state) => drop(told.insert(vm, state)),
            None => drop(told.remove(&vm)),
        }
    }

    /// What the events say of a VM is durable: its state, or `None` where it is gone.
    pub(super) fn tell(&self, vm: VmId, state: Option<VmState>) {
        self.reports().unheard.remove(&vm);
        self.recall(vm, state);
    }

    /// The stream of events has grown.
    pub(super) fn committed(&self, seq: EventSeq) {
        self.latest.send_if_modified(|latest| {
            let grown = seq > *latest;
            *latest = seq.max(*latest);
            grown
        });
    }

    /// A change may or may not be durable: readers of the events look.
    pub(super) fn doubtful(&self) {
        self.latest.send_modify(|_| ());
    }
}
