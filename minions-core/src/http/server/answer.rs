//! Wire types to bytes.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::v1::{Operation, OperationOutcome, Problem};
use crate::error::Error;

/// What a handler returns.
pub(super) type Answer = Result<Response, Failure>;

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.0.kind() == crate::ErrorKind::Internal {
            tracing::error!(error = %self.0.chain(), op = self.0.op(), "a request failed inside");
        }
        problem(&Problem::from(&self.0))
    }
}

/// An error as `application/problem+json`.
pub(super) fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_json(status, problem);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A value with a status.
pub(super) fn with_json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A value, 200.
pub(super) fn json(value: &impl Serialize) -> Response {
    with_json(StatusCode::OK, value)
}

/// An operation: 200 when it has ended, 202 while it has not.
pub(super) fn operation(operation: &Operation) -> Response {
    let pending = matches!(operation.outcome, OperationOutcome::Pending);
    let mut response = with_json(if pending { StatusCode::ACCEPTED } else { StatusCode::OK }, operation);
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/operations/{}", operation.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}
