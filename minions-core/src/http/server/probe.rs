//! What a supervisor asks: alive, ready, figures.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{App, metrics};
use crate::service::Caller;

/// How long the figures of a host may take.
const HOST_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn health() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.ready.load(Ordering::Acquire) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let streams = app.settings.max_streams.saturating_sub(app.streams.available_permits());
    let mut text = app.metrics.render(streams, app.ready.load(Ordering::Acquire));
    // A host that does not tell in time has no figures; a supervisor sees that they are missing.
    let caller = Caller::admin("metrics");
    match tokio::time::timeout(HOST_LIMIT, app.plane.host(&caller)).await {
        Ok(Ok(host)) => text.push_str(&metrics::storage(&host)),
        Ok(Err(error)) => tracing::debug!(%error, "the host does not tell how full it is"),
        Err(_) => tracing::debug!("the host does not tell in time how full it is"),
    }
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
