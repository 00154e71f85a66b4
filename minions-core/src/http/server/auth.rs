//! Who is calling.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::App;
use super::answer::Failure;
use super::listener::{Door, Peer};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::http::token::Token;
use crate::http::token::{TokenHash, TokenTable};
use crate::service::{Caller, DynAccounts};

/// How often a long session looks whether its token has come to its end.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The caller of a request. A handler can only get one that [`authenticate`] put there.
#[derive(Clone, Debug)]
pub(super) struct Who(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Who>().cloned().ok_or_else(|| Failure(unknown("no one authenticated this request")))
    }
}

/// How long a caller is let in. Everything that lasts longer than its request ends with it: a stream of events, a stream
/// into a guest.
#[derive(Clone, Debug)]
pub(super) struct Session {
    closing: watch::Receiver<bool>,
    /// Checked again and again.
    proof: Proof,
}

/// What let a caller in, and can be taken back.
#[derive(Clone, Debug)]
enum Proof {
    /// The socket, which whoever may use it keeps.
    Socket,
    /// A line of the table.
    Table { hash: TokenHash, caller: Caller, tokens: watch::Receiver<Arc<TokenTable>> },
    /// An account's token. The turn is the one in which it was looked up.
    Account { hash: TokenHash, caller: Caller, accounts: DynAccounts, changes: watch::Receiver<u64> },
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Session>().cloned().ok_or_else(|| Failure(unknown("no one authenticated this request")))
    }
}

impl Session {
    /// Returns when the server ends, or when the caller's token no longer says who they are: it was taken back, or given
    /// to somebody else, or to another role.
    pub(super) async fn over(&self) {
        let mut closing = self.closing.clone();
        tokio::select! {
            // Were the sender gone, the server would have ended too.
            _ = closing.wait_for(|closing| *closing) => {}
            () = self.revoked() => {}
        }
    }

    async fn revoked(&self) {
        match &self.proof {
            Proof::Socket => std::future::pending().await,
            Proof::Table { hash, caller, tokens } => {
                let _ = tokens.clone().wait_for(|table| table.caller_of(hash).as_ref() != Some(caller)).await;
            }
            Proof::Account { hash, caller, accounts, changes } => {
                let mut changes = changes.clone();
                // Tokens end by themselves too.
                while !matches!(tokio::time::timeout(LOOK_AGAIN, changes.changed()).await, Ok(Err(_))) {
                    match accounts.by_token(hash).await {
                        Ok(now) if now.as_ref() == Some(caller) => {}
                        Ok(_) => return,
                        Err(error) => {
                            // Who cannot be told to be still let in is not.
                            tracing::warn!(error = %error.chain(), "whether a token was taken back cannot be told");
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// In front of every route that is not public. A request that waits ends with its session too.
pub(super) async fn authenticate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let (caller, session) = match caller(&app, request.headers(), request.extensions().get::<Peer>().copied()).await {
        Ok(known) => known,
        Err(error) => return Failure(error).into_response(),
    };
    request.extensions_mut().insert(Who(caller));
    request.extensions_mut().insert(session.clone());
    tokio::select! {
        biased;
        // What was accepted before goes on.
        () = session.revoked() => {
            Failure(unknown("this token was taken back").with_effect(Effect::Unknown)).into_response()
        }
        response = next.run(request) => response,
    }
}

async fn caller(app: &App, headers: &HeaderMap, peer: Option<Peer>) -> Result<(Caller, Session)> {
    let closing = app.closing.subscribe();
    let mut headers = headers.get_all(AUTHORIZATION).iter();
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
        let (hash, tokens) = (token.hash(), app.tokens.subscribe());
        let listed = tokens.borrow().caller_of(&hash);
        if let Some(caller) = listed {
            return Ok((caller.clone(), Session { closing, proof: Proof::Table { hash, caller, tokens } }));
        }
        if let Some(accounts) = app.people.as_ref().map(|people| people.accounts.clone()) {
            // Before the look, so that nothing is missed that changes after it.
            let changes = accounts.changes();
            if let Some(caller) = accounts.by_token(&hash).await? {
                let proof = Proof::Account { hash, caller: caller.clone(), accounts, changes };
                return Ok((caller, Session { closing, proof }));
            }
        }
        return Err(unknown("this token is not known here"));
    }
    match peer {
        Some(Peer { door: Door::Local, uid: Some(uid) }) => {
            if app.settings.admin_uids.contains(&uid) {
                Ok((Caller::admin("admin"), Session { closing, proof: Proof::Socket }))
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
