//! Operations.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;

use super::App;
use super::answer::{self, Answer};
use super::auth::Who;
use super::request::{OperationPath, Params, WaitQuery};
use crate::api::v1;
use crate::error::{Effect, Error, Result};
use crate::service::{Caller, DynControlPlane};

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    OperationPath(id): OperationPath,
    Params(query): Params<WaitQuery>,
) -> Answer {
    let operation = app.plane.operation(&caller, id, query.duration()?).await?;
    Ok(answer::operation(&operation))
}

/// Runs a mutation to its acceptance in a task of its own, then waits for its end as long as the client asked and stays.
pub(super) async fn detached<F>(
    app: Arc<App>,
    caller: Caller,
    wait: Duration,
    mutation: impl FnOnce(DynControlPlane, Caller) -> F,
) -> Answer
where
    F: Future<Output = Result<v1::Operation>> + Send + 'static,
{
    let accepted = run(mutation(app.plane.clone(), caller.clone())).await?;
    if wait.is_zero() || !matches!(accepted.outcome, v1::OperationOutcome::Pending) {
        return Ok(answer::operation(&accepted));
    }
    let operation = app.plane.operation(&caller, accepted.id, wait).await?;
    Ok(answer::operation(&operation))
}

/// Runs work that must not end with its request.
pub(super) async fn run<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let ended = tokio::spawn(work).await;
    ended.map_err(|error| Error::internal("a request's task ended").with_effect(Effect::Unknown).with_source(error))?
}
