//! Waiting for an operation, with something to look at.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use minions_core::api::v1::{EventBody, Operation, OperationOutcome};
use minions_core::error::{Error, ErrorKind};
use minions_core::types::{EventSeq, VmId};
use tokio::time::Instant;

use crate::client::Client;
use crate::output::{Failure, Output, spell};
use crate::pace::Pace;

/// Longest that one request waits; then it is asked again.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Longest between two requests about an operation.
const APART: Duration = Duration::from_secs(5);

/// Longest between two requests for events, which come at any time.
pub const EVENTS_APART: Duration = Duration::from_millis(250);

/// Waits until the operation has ended, and says how. Its failure is an error here. `what` is in words what it does, and
/// `goes_on` what to say to whoever stops waiting with Ctrl-C.
pub async fn operation(
    client: &Client,
    output: &Output,
    what: &str,
    goes_on: String,
    operation: Operation,
    timeout: Duration,
) -> Result<Operation, Failure> {
    let until = Instant::now() + timeout;
    let progress = Progress::new(output, what);
    let vm = operation.vm;
    let waiting = async {
        let (mut operation, mut pace) = (operation, Pace::new(APART));
        while matches!(operation.outcome, OperationOutcome::Pending) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("{what}: still under way after {}; it goes on: see `minions inspect`", spell(timeout)),
                )
                .with_reason("timeout"));
            }
            let (begun, wait) = (Instant::now(), left.min(PATIENCE));
            operation = client.plane.operation(&client.caller, operation.id, wait).await?;
            if matches!(operation.outcome, OperationOutcome::Pending) {
                pace.keep(begun, wait).await;
            }
        }
        Ok(operation)
    };
    let from = place(&progress, client).await;
    let ended = tokio::select! {
        ended = waiting => ended?,
        never = watch(client, &progress, vm, from) => match never {},
        interrupted = output.to.interrupted() => match interrupted {
            Ok(()) => return Err(Failure::Interrupted(goes_on)),
            Err(error) => return Err(Error::internal("cannot wait for Ctrl-C").with_source(error).into()),
        },
    };
    progress.clear();
    match ended.outcome {
        OperationOutcome::Failed { error } => Err(Error::from(error).into()),
        _ => Ok(ended),
    }
}

/// Where to begin reading events, if anyone looks.
async fn place(progress: &Progress, client: &Client) -> Option<EventSeq> {
    progress.0.as_ref()?;
    client.plane.last_event(&client.caller).await.ok()
}

/// Shows what the events say, as long as anyone waits. What it cannot read it does not show.
async fn watch(client: &Client, progress: &Progress, vm: VmId, from: Option<EventSeq>) -> std::convert::Infallible {
    if let Some(mut after) = from {
        let (mut pace, mut begun) = (Pace::new(EVENTS_APART), Instant::now());
        while let Ok(page) = client.plane.events(&client.caller, after, 100, PATIENCE).await {
            after = page.next;
            for event in page.events.iter().filter(|event| event.vm == vm) {
                if let EventBody::State { state, .. } = &event.body {
                    progress.show(&format!("{} {state}", event.name));
                }
            }
            pace.keep(begun, PATIENCE).await;
            begun = Instant::now();
        }
    }
    std::future::pending().await
}

/// A line that moves, where a person watches.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    pub fn new(output: &Output, what: &str) -> Self {
        if !output.lively {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        let template = if output.colour { "{spinner:.cyan} {msg} {elapsed}" } else { "{spinner} {msg} {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }

    pub fn show(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
        }
    }

    pub fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
