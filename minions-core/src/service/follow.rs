//! What the host reports becomes what the fleet knows: settled rows, ended operations, events.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::convert;
use super::inner::Inner;
use super::intent::{ended_event, event};
use crate::env::CallCx;
use crate::error::{Effect, ErrorKind, Result};
use crate::mutant::{Mutant, planted};
use crate::node::{NodeVm, Settled};
use crate::store::{EventKind, EventQuery, FleetChange, Guard, OperationRow, OperationState, VmRow, Write};
use crate::types::{EventSeq, Goal, OperationVerb, UnixMillis, VmSpec, VmState};

/// How long one page may take to come; then it is asked for again.
const PAGE_WAIT: Duration = Duration::from_secs(300);

/// Follows the host for ever. A page that cannot be written down is written down later, never skipped.
pub(super) async fn follow(inner: Arc<Inner>) {
    let (mut after, mut recalled) = (0, false);
    loop {
        let page = match inner.node.changes(&CallCx::new("follow", PAGE_WAIT), after).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "cannot follow the host; will try again");
                tokio::time::sleep(inner.config.retry).await;
                continue;
            }
        };
        // Served before it is durable, like everything that is measured.
        page.vms.iter().for_each(|report| inner.keep(report));
        while !recalled {
            match recall(&inner).await {
                Ok(()) => recalled = true,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "cannot read what was told; will try again");
                    tokio::time::sleep(inner.config.retry).await;
                }
            }
        }
        if absorb_all(&inner, page.vms).await {
            after = page.next;
        } else {
            tokio::time::sleep(inner.config.retry).await;
        }
    }
}

/// What the events said last of each VM, so that a new service repeats nothing that was told.
async fn recall(inner: &Inner) -> Result<()> {
    let mut place = EventSeq(0);
    loop {
        let page = inner
            .store
            .events(&CallCx::new("recall", inner.config.store_limit), &EventQuery::all(place, 1_000))
            .await?;
        let Some(last) = page.last() else { return Ok(()) };
        place = last.seq;
        for event in page.iter().map(|event| &event.event) {
            match event.kind {
                EventKind::State { state, .. } => inner.recall(event.vm, Some(state)),
                EventKind::Deleted => inner.recall(event.vm, None),
                EventKind::Accepted { .. } | EventKind::Ended { .. } => {}
            }
        }
    }
}

/// Reports that are written down at a time.
const ABREAST: usize = 64;

/// Writes a page down. Its reports are of different VMs, so that they need not wait for one another, and share commits;
/// the next page waits for all of them, so that two reports of one VM are written in their order. `false` where one
/// broke off half-way: then the page is asked for again, for a report that is written down already changes nothing.
async fn absorb_all(inner: &Arc<Inner>, page: Vec<NodeVm>) -> bool {
    if let [report] = page.as_slice() {
        insist(inner, report).await;
        return true;
    }
    let mut whole = true;
    let mut jobs = JoinSet::new();
    for report in page {
        if jobs.len() == ABREAST {
            whole &= matches!(jobs.join_next().await, Some(Ok(())));
        }
        let inner = inner.clone();
        jobs.spawn(async move { insist(&inner, &report).await });
    }
    while let Some(job) = jobs.join_next().await {
        whole &= job.is_ok();
    }
    whole
}

/// Writes one report down, however often it takes.
async fn insist(inner: &Inner, report: &NodeVm) {
    while let Err(error) = absorb(inner, report).await {
        if planted(Mutant::SkipReport) {
            return;
        }
        tracing::warn!(vm = %report.vm, error = %error.chain(), "cannot write down what the host says; will try again");
        tokio::time::sleep(inner.config.retry).await;
    }
}

/// Writes one report down, in one transaction.
pub(super) async fn absorb(inner: &Inner, report: &NodeVm) -> Result<()> {
    loop {
        let cx = CallCx::new("absorb", inner.config.store_limit);
        let Some(row) = inner.store.vm(&cx, report.vm).await? else {
            // Nothing is concluded from that, and nobody else's report waits for it: a fleet that was restored from an
            // old backup may know of it again later.
            tracing::error!(vm = %report.vm, "the host has a VM that the fleet does not know; it is left as it is");
            return Ok(());
        };
        let pending = inner.store.pending_operations(&cx, report.vm).await?;
        let origin = match row.spec.data_from {
            Some(from) if report.settled == Some(Settled::Gone) => inner.store.vm(&cx, from).await?,
            _ => None,
        };
        let told = inner.told(report.vm);
        let now = inner.env.clock.wall();
        let (change, ended, unwound) = absorbed(&row, origin.as_ref(), &pending, report, told, now);
        if change.writes.is_empty() && change.events.is_empty() {
            inner.keep(report);
            return Ok(());
        }
        let settles =
            change.writes.iter().any(|write| matches!(write, Write::UpdateVm(new) if new.settled > row.settled));
        // Known before it is told: whoever acts on the event finds at least this.
        inner.keep(report);
        let committed = inner.store.commit(&cx, &change).await;
        // What may have happened is told, too: whoever waits looks again, and whoever tries again finds nothing to tell.
        if committed.as_ref().map_or_else(|error| error.effect() != Effect::None, |_| true) {
            for operation in ended {
                inner.waiters.ended(operation);
            }
            if unwound {
                inner.push.notify_one();
            }
        }
        match committed {
            Ok(seq) => {
                let gone = row.deleted.is_some() || report.settled == Some(Settled::Gone);
                inner.tell(report.vm, (!gone).then_some(report.state));
                inner.committed(seq);
                // Whoever joined between the look and the commit saw that it had not settled, and waits for this report.
                if !settles || inner.store.pending_operations(&cx, report.vm).await?.is_empty() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => {
                inner.doubtful();
                return Err(error);
            }
        }
    }
}

/// Whether the data disk of a VM stays when it goes.
fn keeps(row: &VmRow) -> bool {
    row.goal == Goal::Absent { keep_data: true } && row.spec.data.is_some()
}

/// Pure: what a report changes. `origin` is the tombstone whose data disk the VM has taken over.
fn absorbed(
    old: &VmRow,
    origin: Option<&VmRow>,
    pending: &[OperationRow],
    report: &NodeVm,
    told: Option<VmState>,
    now: UnixMillis,
) -> (FleetChange, Vec<crate::types::OperationId>, bool) {
    let mut row = old.clone();
    let mut events = Vec::new();
    let mut writes = Vec::new();
    let mut unwound = false;

    // One that ran may be given up later, at the same generation.
    let lapsed = report.generation == old.generation
        && old.failure.is_none()
        && matches!(report.settled, Some(Settled::GivenUp { .. }));
    if let Some(settled) = report.settled.as_ref().filter(|_| report.generation > old.settled || lapsed) {
        row.settled = report.generation;
        match settled {
            Settled::Met if report.generation == old.generation => row.failure = None,
            Settled::Met => {}
            Settled::GivenUp { reason, .. } if report.generation == old.generation => {
                row.failure = Some(reason.clone());
                // A create that fails for good is unwound: by planning, like every end.
                let creating = pending.iter().any(|operation| operation.verb == OperationVerb::Create);
                if creating && !row.goal.is_absent() && !planted(Mutant::NoUnwinding) {
                    // A disk that was there before it is nobody's to remove.
                    row.goal = Goal::Absent { keep_data: row.spec.data_from.is_some() };
                    row.generation = row.generation.next();
                    unwound = true;
                }
            }
            Settled::GivenUp { .. } => {}
            Settled::Gone => {
                row.kept = row.deleted.is_none() && keeps(old) && old.spec.data_from.is_none();
                row.deleted = old.deleted.or(Some(now));
            }
        }
        row.updated = now;
    }
    let ended: Vec<OperationRow> = pending
        .iter()
        .filter_map(|operation| {
            let state = convert::ended(operation, &row, report)?;
            let marks = if state == OperationState::Succeeded { report.marks.clone() } else { Vec::new() };
            Some(OperationRow { state, marks, ended: Some(now), ..operation.clone() })
        })
        .collect();
    if old.deleted.is_none() && told != Some(report.state) && row.deleted.is_none() {
        events.push(event(&row, now, EventKind::State { state: report.state, reason: report.reason.clone() }));
    }
    if row != *old {
        writes.push(Write::UpdateVm(row.clone()));
    }
    if let Some(origin) = origin.filter(|_| row.deleted.is_some() && old.deleted.is_none() && keeps(old)) {
        let spec = VmSpec { data: old.spec.data, ..origin.spec.clone() };
        writes.push(Write::UpdateVm(VmRow { kept: true, spec, updated: now, ..origin.clone() }));
    }
    for operation in &ended {
        writes.push(Write::UpdateOperation(operation.clone()));
        events.push(event(&row, now, ended_event(operation)));
    }
    if row.deleted.is_some() && old.deleted.is_none() {
        events.push(event(&row, now, EventKind::Deleted));
    }
    let unchanged = |row: &VmRow| Guard::Unchanged { vm: row.id, generation: row.generation, settled: row.settled };
    let guards = std::iter::once(old).chain(origin).map(unchanged).collect();
    let ids = ended.iter().map(|operation| operation.id).collect();
    (FleetChange { guards, writes, events, ..FleetChange::default() }, ids, unwound)
}
