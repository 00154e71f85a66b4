//! One bounded exchange: what a server answers is read up to a limit and within a time, and redirects are not followed.

use std::error::Error as StdError;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::HttpControlPlane;
use crate::api::v1::Problem;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::http::wire;
use crate::service::IdempotencyKey;

/// Largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;

/// A request that is yet to be sent.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Vec<u8>>,
    pub(super) key: Option<&'a IdempotencyKey>,
    /// How long the server was asked to wait, on top of the usual time.
    pub(super) wait: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None, key: None, wait: Duration::ZERO }
    }

    pub(super) fn send(
        method: Method,
        path: String,
        body: &impl Serialize,
        key: Option<&'a IdempotencyKey>,
    ) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::invalid("request", "cannot be written as JSON").with_source(error))?;
        Ok(Self { method, path, body: Some(body), key, wait: Duration::ZERO })
    }

    pub(super) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl HttpControlPlane {
    /// Sends a call and reads its JSON.
    pub(super) async fn exchange<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let effect = if call.method == Method::GET { Effect::None } else { Effect::Unknown };
        let bytes = self.fetch(call).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the server's answer is not what this version understands")
                .with_effect(effect)
                .with_source(error)
        })
    }

    /// Sends a call and reads its bytes.
    pub(super) async fn fetch(&self, call: Call<'_>) -> Result<Bytes> {
        // A request that asks for nothing to change has no effect, whatever became of it.
        let effect = if call.method == Method::GET { Effect::None } else { Effect::Unknown };
        let limit = self.timeout.saturating_add(call.wait);
        let request = self.request(call)?;
        let late = |_| {
            let message = format!("the server at {} did not answer within {}s", self.endpoint(), limit.as_secs());
            Error::new(ErrorKind::DeadlineExceeded, message).with_effect(effect)
        };
        tokio::time::timeout(limit, self.answer(request, effect)).await.map_err(late)?
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>> {
        let bad = |error| Error::invalid("request", "cannot be sent").with_source(error);
        let uri = format!("http://{}{}", self.endpoint.authority(), call.path);
        let mut builder = Request::builder()
            .method(call.method)
            .uri(uri)
            .header(HOST, self.endpoint.authority())
            .header(ACCEPT, "application/json");
        if let Some(header) = self.authorization() {
            builder = builder.header(AUTHORIZATION, header);
        }
        if call.body.is_some() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = call.key {
            builder = builder.header(wire::IDEMPOTENCY_KEY, key.as_str());
        }
        builder.body(Full::new(Bytes::from(call.body.unwrap_or_default()))).map_err(bad)
    }

    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let token = self.token.as_ref()?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    async fn answer(&self, request: Request<Full<Bytes>>, effect: Effect) -> Result<Bytes> {
        let response = self.client.request(request).await.map_err(|error| unreachable(error, effect))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| {
            let message = if error.is::<LengthLimitError>() {
                "the server's answer is larger than anything it should say"
            } else {
                "the server's answer broke off"
            };
            Error::new(ErrorKind::Unavailable, message).with_effect(effect)
        })?;
        let bytes = body.to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes, effect)) }
    }
}

/// What a status that is no success says.
pub(super) fn refused(status: StatusCode, bytes: &[u8], effect: Effect) -> Error {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => problem.into(),
        // Whoever answers without a problem is no server of ours; a redirect is never followed.
        Err(_) => {
            let message = format!("the server answered {status}, which is not what a minions server says");
            Error::new(ErrorKind::Unavailable, message).with_effect(effect)
        }
    }
}

fn unreachable(error: hyper_util::client::legacy::Error, effect: Effect) -> Error {
    if error.is_connect() {
        // Our own connector said it all; it is somewhere among the causes.
        let mut cause = StdError::source(&error);
        while let Some(inner) = cause {
            if let Some(ours) = inner.downcast_ref::<Error>() {
                return Error::new(ours.kind(), ours.chain());
            }
            cause = inner.source();
        }
        return Error::new(ErrorKind::Unavailable, "cannot reach the server").with_source(error);
    }
    Error::new(ErrorKind::Unavailable, "the connection to the server broke").with_effect(effect).with_source(error)
}
