//! The run of one VM: observe, plan, one stage, again, until there is nothing to do or nothing but to wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::board::Board;
use super::observe::{Known, Observed, observe};
use super::pace::Pace;
use super::plan::{Plan, plan};
use super::queue::Queue;
use super::step::Step;
use super::{EngineConfig, Ports, status};
use crate::env::{CallCx, Env};
use crate::error::{Error, ErrorKind, Result};
use crate::hypervisor::VmmPhase;
use crate::mutant::{Mutant, planted};
use crate::store::{JournalRow, Outcome};
use crate::types::{BootMark, Fences, Generation, Goal, Settled, StateReason, VmId, VmSize, VmState};

/// What one engine remembers of one VM. Nothing in it is needed to be right, only to be quick and to tell people.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) known: Known,
    pub(super) pace: Pace,
    generation: Generation,
    pub(super) trouble: Option<StateReason>,
    pub(super) marks: Vec<BootMark>,
    pub(super) restarts: u32,
    /// Of the monitor that was seen alive last.
    pub(super) size: Option<VmSize>,
    pub(super) fences: Option<Fences>,
    watch: Option<(u64, AbortHandle)>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) ports: Ports,
    pub(super) env: Env,
    pub(super) config: EngineConfig,
    pub(super) board: Board,
    pub(super) queue: Queue,
    working: Semaphore,
    memory: Mutex<HashMap<VmId, Memory>>,
}

/// What a run does next.
pub(super) enum Next {
    /// Observe and plan again at once.
    Again,
    /// Nothing to do until something happens.
    Rest,
    /// Try again after this long, or as soon as something else is asked for.
    After(Duration),
}

impl Inner {
    pub(super) fn new(ports: Ports, env: Env, config: EngineConfig) -> Self {
        Self {
            ports,
            env,
            board: Board::default(),
            queue: Queue::default(),
            working: Semaphore::new(config.parallel),
            memory: Mutex::default(),
            config,
        }
    }

    pub(super) fn end(&self) {
        self.queue.end();
        for (_, memory) in self.memory().drain() {
            if let Some((_, watch)) = memory.watch {
                watch.abort();
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<VmId, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember<T>(&self, vm: VmId, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(self.memory().entry(vm).or_default())
    }

    pub(super) async fn wake_all(self: &Arc<Self>) -> Result<()> {
        let mut after = None;
        loop {
            let cx = CallCx::new("wake_all", self.config.observe_limit);
            let rows = self.ports.journal.rows(&cx, after, 500).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.entry.vm);
            for row in &rows {
                self.wake(row.entry.vm);
            }
        }
    }

    pub(super) fn wake(self: &Arc<Self>, vm: VmId) {
        let inner = self.clone();
        self.queue.wake(vm, |interrupt| async move { inner.run(vm, &interrupt).await });
    }

    async fn run(self: Arc<Self>, vm: VmId, interrupt: &Notify) {
        loop {
            let next = match self.turn(vm, interrupt).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%vm, error = %error.chain(), "cannot tell how the VM stands; will look again");
                    Next::After(self.failed(vm, None, &error).0)
                }
            };
            match next {
                Next::Again => {}
                Next::After(wait) => {
                    let _ = tokio::time::timeout(wait, interrupt.notified()).await;
                }
                Next::Rest if self.queue.finish(vm) => {}
                Next::Rest => return,
            }
        }
    }

    /// One observation, one plan, and of its stages those that need no look between them.
    async fn turn(self: &Arc<Self>, vm: VmId, interrupt: &Notify) -> Result<Next> {
        let cx = CallCx::new("observe", self.config.observe_limit);
        let permit = self.working.acquire().await.map_err(|_| Error::internal("the engine has ended"))?;
        let Some(row) = self.ports.journal.row(&cx, vm).await? else {
            self.tell_buried(&cx, vm).await?;
            self.forget(vm);
            return Ok(Next::Rest);
        };
        let known = self.remember(vm, |memory| {
            if memory.generation != row.entry.generation {
                memory.generation = row.entry.generation;
                memory.pace.reset();
                memory.trouble = None;
                memory.marks.clear();
                memory.known.asked = None;
                memory.known.waited = None;
            }
            memory.known
        });
        let seen = observe(&self.ports, &cx, &row, known).await?;
        let alive = seen.vmm.as_ref().filter(|vmm| vmm.phase != VmmPhase::Exited);
        self.remember(vm, |memory| {
            memory.size = seen.vmm.as_ref().and_then(|vmm| vmm.size);
            memory.fences = alive.map(|vmm| vmm.fences);
        });
        if self.note_death(&row, &seen) {
            let reason =
                StateReason::new("crash_loop", "the monitor died again and again; look at the logs, then start it");
            return self.give_up(&row, ErrorKind::Unavailable, reason).await;
        }
        let plan = plan(&row, &seen);
        self.watch_exit(&row, &seen);
        self.publish_seen(&row, &seen, &plan);
        match plan {
            Plan::Met => {
                self.settle_met(&cx, &row).await?;
                self.remember(vm, |memory| {
                    memory.pace.met();
                    memory.trouble = None;
                });
                Ok(Next::Rest)
            }
            Plan::Bury => {
                self.ports.journal.bury(&cx, vm, row.entry.generation).await?;
                self.publish(&row.entry, VmState::Deleting, None, row.lease.ip, Some(Settled::Gone));
                self.forget(vm);
                Ok(Next::Rest)
            }
            Plan::GiveUp { kind, reason } => self.give_up(&row, kind, reason).await,
            Plan::Stages(stages) => self.stages(row, &seen, stages, permit, interrupt).await,
        }
    }

    /// A stage failed: try again, or give up.
    pub(super) async fn stumble(&self, row: &JournalRow, step: Step, error: Error) -> Result<Next> {
        let (wait, tries) = self.failed(row.entry.vm, Some(step.name()), &error);
        let running = matches!(row.entry.goal, Goal::Running { .. });
        // What ends a VM is tried for ever; what brings one up is given up where trying again cannot help.
        let late = step == Step::AwaitReady && error.kind() == ErrorKind::DeadlineExceeded;
        let hopeless = !error.kind().is_transient() || tries >= self.config.attempts || late;
        if step == Step::AwaitReady {
            self.unheard(row.entry.vm);
        }
        // A guest that runs is not ended because its disks could not be made larger: that is tried until it works.
        let wanted = if let Goal::Running { epoch } = row.entry.goal { Some(epoch) } else { None };
        let grows = matches!(step, Step::MakeVolume(_) | Step::ShowDisks)
            && self.remember(row.entry.vm, |memory| memory.known.proven == wanted);
        let giving_up = running && row.outcome.is_none() && hopeless && !grows;
        if step == Step::ShowDisks && grows && hopeless {
            tracing::warn!(vm = %row.entry.vm, error = %error.chain(), "the guest sees its larger disks from its next start on");
            self.remember(row.entry.vm, |memory| {
                memory.known.shown = Some(row.entry.generation);
                memory.trouble = None;
            });
            return Ok(Next::Again);
        }
        tracing::warn!(vm = %row.entry.vm, step = step.name(), tries, giving_up, error = %error.chain(), "a step failed");
        if !giving_up {
            self.publish_trouble(row);
            return Ok(Next::After(wait));
        }
        let reason = if late {
            StateReason::new("boot_timeout", format!("the guest did not announce itself: {}", error.chain()))
        } else {
            StateReason::new(
                error.reason().unwrap_or(error.kind().as_str()),
                format!("{}: {}", step.name(), error.chain()),
            )
        };
        self.give_up(row, error.kind(), reason).await
    }

    fn failed(&self, vm: VmId, step: Option<&'static str>, error: &Error) -> (Duration, u32) {
        let jitter = u64::try_from(self.env.ids.next_bits() & 0xffff).unwrap_or(0);
        self.remember(vm, |memory| {
            memory.trouble = Some(StateReason::new(error.kind().as_str(), error.chain()));
            memory.pace.failed(&self.config, step, jitter)
        })
    }

    async fn give_up(&self, row: &JournalRow, kind: ErrorKind, reason: StateReason) -> Result<Next> {
        let cx = CallCx::new("give_up", self.config.observe_limit);
        let outcome = Outcome::GivenUp { kind, reason };
        self.ports.journal.settle(&cx, row.entry.vm, row.entry.generation, &outcome).await?;
        // What is left of the try is cleared away by the next turn, or a newer goal is taken up.
        Ok(Next::Again)
    }

    async fn settle_met(&self, cx: &CallCx, row: &JournalRow) -> Result<()> {
        if row.outcome.is_some() {
            return Ok(());
        }
        if self.ports.journal.settle(cx, row.entry.vm, row.entry.generation, &Outcome::Met).await? {
            let met = JournalRow { outcome: Some(Outcome::Met), ..row.clone() };
            let state =
                if matches!(met.entry.goal, Goal::Running { .. }) { VmState::Running } else { VmState::Stopped };
            self.publish(&met.entry, state, None, met.lease.ip, status::settled(&met));
        }
        Ok(())
    }

    /// Counts the death of a monitor that had a proven guest: whether it was once too often.
    fn note_death(&self, row: &JournalRow, seen: &Observed) -> bool {
        let Goal::Running { epoch } = row.entry.goal else { return false };
        let alive = seen.vmm.as_ref().is_some_and(|vmm| vmm.epoch == epoch && vmm.phase == VmmPhase::Running);
        if alive || seen.known.started.max(seen.known.proven) != Some(epoch) || row.outcome.is_some() && !is_met(row) {
            return false;
        }
        let now = self.env.clock.monotonic();
        self.remember(row.entry.vm, |memory| {
            memory.known = Known::default();
            memory.restarts += 1;
            memory.trouble = Some(StateReason::new("vmm_exited", "the monitor ended by itself; it is started again"));
            memory.pace.died(&self.config, now)
        })
    }

    /// One task a VM that shall run waits for the end of its monitor: while its guest boots, too.
    fn watch_exit(self: &Arc<Self>, row: &JournalRow, seen: &Observed) {
        let vm = row.entry.vm;
        if !matches!(row.entry.goal, Goal::Running { .. }) {
            return;
        }
        if let Some(vmm) = seen.vmm.as_ref().filter(|vmm| vmm.phase == VmmPhase::Running) {
            self.watch(vm, vmm.epoch);
        }
    }

    /// Has a task wait for the end of the monitor of that epoch.
    pub(super) fn watch(self: &Arc<Self>, vm: VmId, epoch: u64) {
        if planted(Mutant::NoExitWatch) {
            return;
        }
        self.remember(vm, |memory| {
            if memory.watch.as_ref().is_some_and(|(known, task)| *known == epoch && !task.is_finished()) {
                return;
            }
            let task = tokio::spawn(watch_exit(Arc::downgrade(self), vm)).abort_handle();
            if let Some((_, old)) = memory.watch.replace((epoch, task)) {
                old.abort();
            }
        });
    }

    fn forget(&self, vm: VmId) {
        if let Some((_, watch)) = self.memory().remove(&vm).and_then(|memory| memory.watch) {
            watch.abort();
        }
    }
}

fn is_met(row: &JournalRow) -> bool {
    row.outcome == Some(Outcome::Met)
}

async fn watch_exit(inner: Weak<Inner>, vm: VmId) {
    loop {
        let Some(hypervisor) = inner.upgrade().map(|inner| inner.ports.hypervisor.clone()) else { return };
        let cx = CallCx::new("watch_exit", Duration::from_secs(3_600));
        let result = hypervisor.wait_exit(&cx, vm).await;
        let Some(inner) = inner.upgrade() else { return };
        match result {
            Ok(()) => return inner.wake(vm),
            Err(error) if error.kind() == ErrorKind::DeadlineExceeded => {}
            Err(error) => {
                tracing::warn!(%vm, error = %error.chain(), "cannot watch the monitor; will look again");
                tokio::time::sleep(inner.config.backoff_max).await;
                return inner.wake(vm);
            }
        }
    }
}
