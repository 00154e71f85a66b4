//! The stages of one plan that run before the next look.

use std::sync::Arc;

use tokio::sync::{Notify, SemaphorePermit};
use tokio::task::JoinSet;

use super::drive::{Inner, Next};
use super::execute::execute;
use super::observe::{Known, Observed};
use super::plan::{Plan, Stage};
use super::step::Step;
use crate::error::{Error, Result};
use crate::mutant::{Mutant, planted};
use crate::store::JournalRow;
use crate::types::{BootMark, Goal, StepReport, VmId};

/// Whether a stage may follow one that worked without a look between them: all that its steps are made of was seen before.
fn follows(stage: &Stage) -> bool {
    stage.iter().all(|step| matches!(step, Step::StartVmm | Step::AwaitReady))
}

impl Inner {
    /// Runs the first stage, and those that follow it for as long as each works and nothing newer is asked for.
    pub(super) async fn stages(
        self: &Arc<Self>,
        mut row: JournalRow,
        seen: &Observed,
        stages: Vec<Stage>,
        permit: SemaphorePermit<'_>,
        interrupt: &Notify,
    ) -> Result<Next> {
        let vm = row.entry.vm;
        let mut permit = Some(permit);
        let mut left = stages.into_iter().peekable();
        while let Some(stage) = left.next() {
            if stage.iter().all(Step::is_wait) {
                permit = None;
            }
            let notes = stage.contains(&Step::NoteProvisioned);
            let starts = stage.contains(&Step::StartVmm);
            match self.stage(&row, seen, stage, interrupt).await? {
                Next::Again => {}
                next => return Ok(next),
            }
            if self.queue.is_woken(vm) || !left.peek().is_some_and(follows) {
                break;
            }
            if notes {
                row.provisioned = Some(row.entry.spec.root_turn);
            }
            if let Goal::Running { epoch } = row.entry.goal
                && starts
            {
                self.watch(vm, epoch);
            }
            self.publish_seen(&row, seen, &Plan::Stages(left.clone().collect()));
        }
        drop(permit);
        Ok(Next::Again)
    }

    /// Runs the steps of one stage at the same time.
    async fn stage(
        self: &Arc<Self>,
        row: &JournalRow,
        seen: &Observed,
        stage: Stage,
        interrupt: &Notify,
    ) -> Result<Next> {
        let vm = row.entry.vm;
        let attempt = self.remember(vm, |memory| memory.pace.attempt());
        let waits = stage.iter().all(Step::is_wait);
        let names: Vec<_> = stage.iter().map(Step::name).collect();
        let mut tasks = JoinSet::new();
        let shared = Arc::new((row.clone(), seen.clone()));
        for step in stage {
            let (inner, shared) = (self.clone(), shared.clone());
            tasks.spawn(async move {
                let start = inner.env.clock.monotonic();
                let result =
                    execute(&inner.ports, &inner.env, &inner.config, &shared.0, &shared.1, step, attempt).await;
                let micros = u64::try_from((inner.env.clock.monotonic() - start).as_micros()).unwrap_or(u64::MAX);
                (step, micros, result)
            });
        }
        let mut worst: Option<(Step, Error)> = None;
        loop {
            let done = tokio::select! {
                done = tasks.join_next() => done,
                // Dropping the set ends the waits: nothing they do has an effect of its own.
                () = interrupt.notified(), if waits => {
                    self.unheard(vm);
                    return Ok(Next::Again);
                }
            };
            let Some(done) = done else { break };
            let (step, micros, result) = done.map_err(|error| Error::internal("a step panicked").with_source(error))?;
            let result = if planted(Mutant::TrustTheStep) { result.or(Ok(StepReport::empty())) } else { result };
            match self.note(vm, row, seen, step, micros, result) {
                Some(error) if worst.as_ref().is_none_or(|(_, known)| known.kind().is_transient()) => {
                    worst = Some((step, error));
                }
                _ => {}
            }
        }
        match worst {
            None => {
                self.remember(vm, |memory| {
                    if memory.pace.succeeded(&names) {
                        memory.trouble = None;
                    }
                });
                Ok(Next::Again)
            }
            Some((step, error)) => self.stumble(row, step, error).await,
        }
    }

    /// The guest may have reported to a wait that is over, and will not report again: it is asked first.
    pub(super) fn unheard(&self, vm: VmId) {
        self.remember(vm, |memory| {
            memory.known.started = None;
            memory.known.probed = None;
        });
    }

    /// Remembers what a step has shown; gives its error back where that counts as one.
    fn note(
        &self,
        vm: VmId,
        row: &JournalRow,
        seen: &Observed,
        step: Step,
        micros: u64,
        result: Result<StepReport>,
    ) -> Option<Error> {
        let wanted = if let Goal::Running { epoch } = row.entry.goal { Some(epoch) } else { None };
        let live = seen.vmm.as_ref().map(|vmm| vmm.epoch);
        let ending = live.is_some() && live != wanted;
        self.remember(vm, |memory| {
            match (&step, &result) {
                (Step::PrepareVmm, Ok(_)) => memory.known.prepared = Some(row.entry.generation),
                (Step::StartVmm, Ok(_)) => {
                    memory.known.started = wanted;
                    // Larger disks may have been asked for since.
                    memory.known.booted = memory.known.prepared;
                }
                (Step::ShowDisks, Ok(_)) => memory.known.shown = Some(row.entry.generation),
                // An agent that cannot grow its filesystems has larger disks all the same, and grows them when it boots.
                (Step::GrowGuest(_), _) => memory.known.grown = Some(row.entry.generation),
                (Step::AwaitReady, Ok(_)) => memory.known.proven = wanted,
                (Step::Probe, Ok(_)) => {
                    memory.known.probed = wanted;
                    memory.known.proven = wanted;
                }
                // A guest that does not answer yet will announce itself.
                (Step::Probe, Err(_)) => memory.known.probed = wanted,
                // Asked or not, the ladder goes on: a mute guest is ended all the same.
                (Step::AskGuest, _) => memory.known.asked = live,
                // Nor can one be asked to whom no door leads: that keeps no monitor from being ended.
                (Step::OpenDoor, Err(_)) if ending => memory.known.asked = live,
                (Step::AwaitExit { .. }, _) => memory.known.waited = live,
                (Step::EndVmm(_), _) => memory.known = Known::default(),
                _ => {}
            }
            match result {
                Ok(report) => {
                    memory.marks.push(BootMark { name: step.name().into(), micros });
                    memory.marks.extend(report.marks);
                    None
                }
                Err(error)
                    if matches!(step, Step::Probe | Step::AskGuest | Step::AwaitExit { .. } | Step::GrowGuest(_))
                        || step == Step::OpenDoor && ending =>
                {
                    if matches!(step, Step::GrowGuest(_)) {
                        tracing::warn!(%vm, error = %error.chain(), "the guest grows its filesystem at its next start");
                    } else {
                        tracing::debug!(%vm, step = step.name(), error = %error.chain(), "not answered");
                    }
                    None
                }
                Err(error) => Some(error),
            }
        })
    }
}
