//! Bytes to wire types: limits and strictness.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::Failure;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::http::wire;
use crate::service::{IdempotencyKey, VmRef};
use crate::types::{NewVmName, OperationId, TokenId, UserName};

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's body, checked. An empty one counts as `{}`.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, wire::MAX_REQUEST_BODY).collect();
        let slow = || {
            let message = format!("the request's body took longer than {}s", BODY_TIMEOUT.as_secs());
            Error::new(ErrorKind::DeadlineExceeded, message).with_effect(Effect::None)
        };
        let bytes = tokio::time::timeout(BODY_TIMEOUT, body).await.map_err(|_| slow())?.map_err(unreadable)?.to_bytes();
        if bytes.is_empty() {
            return Ok(Self(parse(b"{}")?));
        }
        check_type(&parts.headers)?;
        Ok(Self(parse(&bytes)?))
    }
}

fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    if error.is::<LengthLimitError>() {
        let message = format!("a request's body has at most {} bytes", wire::MAX_REQUEST_BODY);
        return Error::invalid("body", message).with_reason("too_large");
    }
    Error::invalid("body", "the request's body ended early")
}

fn check_type(headers: &HeaderMap) -> Result<()> {
    let wrong = |message| Err(Error::invalid("content-type", message).with_reason("content_type"));
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return wrong("send application/json");
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return wrong("send the body as it is, without a content encoding");
    }
    Ok(())
}

/// Reads JSON strictly, and says which field is wrong.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut from).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // A bad name has a reason of its own, which serde's text does not carry.
        if inner.is_data()
            && path == "name"
            && let Some(error) = bad_name(bytes)
        {
            return error;
        }
        let field = if inner.is_data() { quoted(&inner.to_string()).unwrap_or(path) } else { "body".to_owned() };
        Error::invalid(field, format!("not what was expected: {inner}"))
    })?;
    from.end().map_err(|error| Error::invalid("body", format!("something follows the request: {error}")))?;
    Ok(value)
}

/// The field that serde's text names: one that is unknown, missing, or there twice.
fn quoted(message: &str) -> Option<String> {
    let rest = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))?;
    let (field, _) = rest.split_once('`')?;
    Some(field.chars().take(64).collect())
}

fn bad_name(bytes: &[u8]) -> Option<Error> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    value.get("name")?.as_str()?.parse::<NewVmName>().err()
}

/// A request's query, checked.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let Query(value) = Query::<T>::try_from_uri(&parts.uri).map_err(|error| {
            let text = error.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text).to_owned();
            let field = text.split_once(": ").map(|(field, _)| field.to_owned()).filter(|field| !field.contains(' '));
            Error::invalid(quoted(&text).or(field).unwrap_or_else(|| "query".to_owned()), text)
        })?;
        Ok(Self(value))
    }
}

/// The VM that a path names. What can be no VM is not there, like any other that is not.
#[derive(Debug)]
pub(super) struct VmPath(pub(super) VmRef);

impl<S: Send + Sync> FromRequestParts<S> for VmPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let absent = || Failure(Error::not_found("there is no such VM; see `minions list`"));
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| absent())?;
        text.parse().map(Self).map_err(|_| absent())
    }
}

/// The user that a path names. What can be no user is not there.
#[derive(Debug)]
pub(super) struct UserPath(pub(super) UserName);

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| no_user())?;
        text.parse().map(Self).map_err(|_| no_user())
    }
}

/// The token that a path names, and whose it is.
#[derive(Debug)]
pub(super) struct TokenPath(pub(super) UserName, pub(super) TokenId);

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let both = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((user, token)) = both.map_err(|_| no_user())?;
        let user = user.parse().map_err(|_| no_user())?;
        let unknown =
            || Error::not_found("there is no such token; see `minions token list`").with_reason("token_unknown");
        token.parse().map(|token| Self(user, token)).map_err(|_| Failure(unknown()))
    }
}

fn no_user() -> Failure {
    Failure(Error::not_found("there is no such user; see `minions user list`").with_reason("user_unknown"))
}

/// The operation that a path names.
#[derive(Debug)]
pub(super) struct OperationPath(pub(super) OperationId);

impl<S: Send + Sync> FromRequestParts<S> for OperationPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let absent = || Failure(Error::not_found("there is no such operation"));
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| absent())?;
        text.parse().map(Self).map_err(|_| absent())
    }
}

/// The caller's own name for a mutation.
#[derive(Debug)]
pub(super) struct Key(pub(super) Option<IdempotencyKey>);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut values = parts.headers.get_all(wire::IDEMPOTENCY_KEY).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(Failure(Error::invalid("idempotency-key", "more than one idempotency key")));
        }
        let Some(value) = first else { return Ok(Self(None)) };
        // What is no text is no key either.
        Ok(Self(Some(value.to_str().unwrap_or_default().parse()?)))
    }
}

/// How long to wait for something to happen.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    wait: Option<String>,
}

impl WaitQuery {
    pub(super) fn duration(&self) -> Result<Duration> {
        wait(self.wait.as_deref())
    }
}

pub(super) fn wait(text: Option<&str>) -> Result<Duration> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    let wait = wire::parse_duration(text).map_err(|error| error.with_field("wait"))?;
    if wait > wire::MAX_WAIT {
        let message = format!("one request waits at most {}s; ask again after it", wire::MAX_WAIT.as_secs());
        return Err(Error::invalid("wait", message));
    }
    Ok(wait)
}

/// The size of a page.
pub(super) fn limit(asked: Option<u32>, default: u32) -> Result<u32> {
    match asked {
        None => Ok(default),
        Some(limit @ 1..=wire::MAX_PAGE) => Ok(limit),
        Some(_) => Err(Error::invalid("limit", format!("a page has 1 to {} entries", wire::MAX_PAGE))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1::CreateVm;

    #[test]
    fn bad_7_json_that_is_not_exactly_a_request_is_refused_with_its_field() {
        let deep = format!(r#"{{"name":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        let cases: [(&[u8], &str); 10] = [
            (b"{\"name\":\"web\xff\"}", "body"),
            (br#"{"name":"web","name":"web2"}"#, "name"),
            (deep.as_bytes(), "name"),
            (br#"{"name":"web","colour":"red"}"#, "colour"),
            (br#"{"name":"web"} x"#, "body"),
            (br#"{"name":"web"}{"name":"web"}"#, "body"),
            (br#"{"name":"web","cpus":"2"}"#, "cpus"),
            (br#"{"name":"web","memory":1.5}"#, "memory"),
            (br#"{"name":"web","cpus":-1}"#, "cpus"),
            (b"{}", "name"),
        ];
        for (bytes, field) in cases {
            let error = parse::<CreateVm>(bytes).expect_err(&String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert_eq!(error.field(), Some(field), "{}", error.chain());
        }
    }

    #[test]
    fn bad_1_a_bad_name_says_so_in_its_reason() {
        for name in ["", "www", "a--b", "../x", "A"] {
            let error = parse::<CreateVm>(format!(r#"{{"name":"{name}"}}"#).as_bytes()).expect_err(name);
            assert_eq!((error.reason(), error.field()), (Some("name_invalid"), Some("name")), "{name}");
        }
    }

    #[test]
    fn bad_11_pages_and_waits_have_limits() {
        assert_eq!(limit(None, 100).unwrap(), 100);
        for bad in [0, 201, 1_000_000_000] {
            assert_eq!(limit(Some(bad), 100).expect_err("bad").field(), Some("limit"));
        }
        assert!(wait(Some("61s")).is_err() && wait(Some("60s")).is_ok() && wait(Some("soon")).is_err());
    }
}
