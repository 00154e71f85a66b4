//! What was asked reaches the host: level-triggered, until it is taken.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::follow::absorb;
use super::inner::Inner;
use crate::env::CallCx;
use crate::error::{Error, Result};
use crate::mutant::{Mutant, planted};
use crate::node::{NodeVm, Settled};
use crate::store::{GoalEntry, VmQuery, VmRow};
use crate::types::{Generation, StateReason, VmId, VmState};

const PAGE: usize = 200;

/// Pushes for ever: when there is news, when a push failed, and now and then.
pub(super) async fn push(inner: Arc<Inner>) {
    let mut taken = HashMap::new();
    loop {
        let woken = inner.push.notified();
        let wait = match round(&inner, &mut taken).await {
            Ok(true) => inner.config.resync,
            Ok(false) => inner.config.retry,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "cannot read what was asked; will try again");
                inner.config.retry
            }
        };
        if tokio::time::timeout(wait, woken).await.is_err() && wait == inner.config.resync {
            // A host may have lost word: say everything again that it has not settled.
            if !planted(Mutant::PushOnce) {
                taken.clear();
            }
        }
    }
}

/// One look at every row that its host has not settled: whether all were taken.
async fn round(inner: &Arc<Inner>, taken: &mut HashMap<VmId, Generation>) -> Result<bool> {
    let mut all = true;
    let mut after = None;
    let mut open = HashMap::new();
    loop {
        let cx = CallCx::new("push", inner.config.store_limit);
        let query = VmQuery { unsettled: true, deleted: true, after, limit: PAGE, ..VmQuery::default() };
        let rows = inner.store.vms(&cx, &query).await?;
        after = rows.last().map(|last| last.id);
        let full = rows.len() == PAGE;
        let (known, news): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| taken.get(&row.id) == Some(&row.generation));
        open.extend(known.iter().map(|row| (row.id, row.generation)));
        for (id, generation, took) in apply_all(inner, news).await {
            if took {
                open.insert(id, generation);
            } else {
                all = false;
            }
        }
        if !full {
            break;
        }
    }
    // Rows that have settled need not be remembered.
    *taken = open;
    Ok(all)
}

/// Whether the host took each. Rows of one page are of different VMs, so that they need not wait for one another, and
/// share the commits of the host's journal.
async fn apply_all(inner: &Arc<Inner>, rows: Vec<VmRow>) -> Vec<(VmId, Generation, bool)> {
    let mut done = Vec::with_capacity(rows.len());
    if let [row] = rows.as_slice() {
        done.push((row.id, row.generation, apply(inner, row).await));
        return done;
    }
    let mut jobs = JoinSet::new();
    for row in rows {
        let inner = inner.clone();
        jobs.spawn(async move { (row.id, row.generation, apply(&inner, &row).await) });
    }
    while let Some(job) = jobs.join_next().await {
        match job {
            Ok(job) => done.push(job),
            // A row that is missing here is pushed again by the next round.
            Err(error) => tracing::error!(%error, "a push ended early"),
        }
    }
    done
}

/// Whether the host took it, or refused it for good.
async fn apply(inner: &Inner, row: &VmRow) -> bool {
    let cx = CallCx::new("apply", inner.config.node_limit);
    let entry = GoalEntry {
        vm: row.id,
        hostname: row.name.clone(),
        generation: row.generation,
        goal: row.goal,
        spec: row.spec.clone(),
    };
    let report = match inner.node.apply(&cx, &entry).await {
        // What a host says of a VM that it has comes with its changes, in their order. Here it would be a second road,
        // on which an older word may overtake a newer one. Only the last word of all has nothing behind it.
        Ok(report) if report.settled != Some(Settled::Gone) => return true,
        Ok(gone) => gone,
        Err(error) if error.kind().is_transient() || row.goal.is_absent() => {
            tracing::warn!(vm = %row.id, error = %error.chain(), "the host has not taken it; will try again");
            return planted(Mutant::PushOnce);
        }
        Err(error) => refused(inner, row, &error),
    };
    match absorb(inner, &report).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(vm = %row.id, error = %error.chain(), "cannot write down what the host says; will try again");
            false
        }
    }
}

fn refused(inner: &Inner, row: &VmRow, error: &Error) -> NodeVm {
    let now = inner.env.clock.wall();
    let code = error.reason().unwrap_or(error.kind().as_str());
    let reason = StateReason::new(code, error.chain());
    NodeVm {
        vm: row.id,
        generation: row.generation,
        goal: row.goal,
        state: VmState::Failed,
        reason: Some(reason.clone()),
        since: now,
        last_progress: now,
        settled: Some(Settled::GivenUp { kind: error.kind(), reason }),
        ip: None,
        restarts: 0,
        size: None,
        fences: None,
        marks: Vec::new(),
    }
}
