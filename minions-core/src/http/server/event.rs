//! Events: pages, and the one stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;

use super::App;
use super::answer::{self, Answer};
use super::auth::{Session, Who};
use super::request::{Params, limit, wait};
use crate::api::v1::{EventPage, Problem};
use crate::error::{Error, Result};
use crate::service::Caller;
use crate::types::EventSeq;

/// How long the stream waits for an event before it looks around.
const STREAM_WAIT: Duration = Duration::from_secs(20);

/// Events that the stream reads at a time.
const STREAM_PAGE: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    after: Option<String>,
    limit: Option<u32>,
    wait: Option<String>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    session: Session,
    headers: HeaderMap,
    Params(query): Params<EventQuery>,
) -> Answer {
    let streams = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    let after = match headers.get("last-event-id") {
        Some(id) if streams => Some(id.to_str().unwrap_or_default()),
        _ => query.after.as_deref(),
    };
    if streams {
        // Whoever opens the stream without a place wants what happens from now on.
        let after = place(&app, &caller, after.or(Some("last"))).await?;
        // A place that cannot be gone on from is refused before there is a stream.
        let first = app.plane.events(&caller, after, STREAM_PAGE, Duration::ZERO).await?;
        return Ok(follow(app, caller, session, first));
    }
    let (limit, wait) = (limit(query.limit, 100)?, wait(query.wait.as_deref())?);
    let page = match after {
        Some("last") if wait.is_zero() => EventPage { events: Vec::new(), next: app.plane.last_event(&caller).await? },
        after => {
            let after = place(&app, &caller, after).await?;
            let limit = usize::try_from(limit).unwrap_or(STREAM_PAGE);
            tokio::select! {
                page = app.plane.events(&caller, after, limit, wait) => page?,
                // Nothing is under way, so that nobody waits for it: who goes on reading asks the next server.
                () = app.closed() => app.plane.events(&caller, after, limit, Duration::ZERO).await?,
            }
        }
    };
    Ok(answer::json(&page))
}

/// `after` is a place, `last` for the newest, or absent for the beginning.
async fn place(app: &App, caller: &Caller, after: Option<&str>) -> Result<EventSeq> {
    match after {
        None => Ok(EventSeq(0)),
        Some("last") => app.plane.last_event(caller).await,
        Some(text) => text
            .parse()
            .map(EventSeq)
            .map_err(|_| Error::invalid("after", "a place among the events is a whole number, or the word last")),
    }
}

/// Server-sent events. A reader that is slow is read for more slowly; it never loses one without hearing of it: a stream
/// that cannot go on ends with an event named `problem`.
fn follow(app: Arc<App>, caller: Caller, session: Session, first: EventPage) -> axum::response::Response {
    let later = stream::unfold(Some((app, caller, session, first.next)), |state| async move {
        let (app, caller, session, after) = state?;
        let page = tokio::select! {
            biased;
            () = session.over() => return None,
            page = app.plane.events(&caller, after, STREAM_PAGE, STREAM_WAIT) => page,
        };
        match page {
            Ok(page) => {
                let next = page.next;
                Some((Ok(page), Some((app, caller, session, next))))
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), "a stream of events ended");
                Some((Err(Problem::from(&error)), None))
            }
        }
    });
    let events = stream::iter([Ok(first)]).chain(later).flat_map(|page| stream::iter(told(page)));
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn told(page: std::result::Result<EventPage, Problem>) -> Vec<Result<Event, Infallible>> {
    match page {
        Ok(page) => {
            let written = page.events.iter().filter_map(|event| {
                let data = serde_json::to_string(event).ok()?;
                Some(Ok(Event::default().id(event.seq.0.to_string()).data(data)))
            });
            written.collect()
        }
        Err(problem) => {
            let data = serde_json::to_string(&problem).unwrap_or_default();
            vec![Ok(Event::default().event("problem").data(data))]
        }
    }
}
