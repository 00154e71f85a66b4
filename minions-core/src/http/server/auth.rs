//! Who is calling.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::answer::Failure;
use super::listener::{Door, Peer};
use crate::error::{Error, ErrorKind, Result};
use crate::http::token::Token;
use crate::service::Caller;

/// The caller of a request. A handler can only get one that [`authenticate`] put there.
#[derive(Clone, Debug)]
pub(super) struct Who(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Who>().cloned().ok_or_else(|| Failure(unknown("no one authenticated this request")))
    }
}

/// In front of every route that is not public.
pub(super) async fn authenticate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match caller(&app, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(Who(caller));
            next.run(request).await
        }
        Err(error) => Failure(error).into_response(),
    }
}

fn caller(app: &App, request: &Request) -> Result<Caller> {
    let mut headers = request.headers().get_all(AUTHORIZATION).iter();
    let (first, second) = (headers.next(), headers.next());
    if second.is_some() {
        return Err(unknown("more than one authorization header"));
    }
    if let Some(header) = first {
        let token: Token = header
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("Bearer "))
            .ok_or_else(|| unknown("the authorization header holds no bearer token"))?
            .parse()?;
        return app.tokens().caller(&token).ok_or_else(|| unknown("this token is not known here"));
    }
    match request.extensions().get::<Peer>() {
        Some(Peer { door: Door::Local, uid: Some(uid) }) => {
            if app.settings.admin_uids.contains(uid) {
                Ok(Caller::admin("admin"))
            } else {
                Err(unknown("this user may not use the socket; send a token"))
            }
        }
        _ => Err(unknown("send a token: Authorization: Bearer mnt_…")),
    }
}

fn unknown(message: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}
