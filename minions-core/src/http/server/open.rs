//! Streams into guests, as WebSockets.
//!
//! The client's first message is the call, as JSON text. The server answers with a text message: `{"opened":true}`, or a
//! problem and the end. From then on every binary message is a piece of the raw stream of the agent's frames, whose
//! boundaries mean nothing. A console has no call: the server's answer comes first, and the stream is the serial line's bytes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role as Side};

use super::App;
use super::accept::Alive;
use super::answer::{Answer, Failure};
use super::auth::{Session, Who};
use super::patience::Unhurried;
use super::request::{Params, VmPath, parse};
use crate::api::guest::GuestCall;
use crate::api::v1::Problem;
use crate::error::{Error, ErrorKind, Result};
use crate::http::wire;
use crate::service::{Caller, Role, VmRef};
use crate::types::{UserName, VmId};

/// How long a client may take to say what it wants.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// After this long without a byte from the guest the client is pinged, so that whatever is between keeps the connection.
const PING_AFTER: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub(super) async fn open(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    session: Session,
    VmPath(vm): VmPath,
    request: Request,
) -> Answer {
    upgraded(app, (caller, session), vm, What::Call, request).await
}

/// How much of the log comes before what is new.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsoleQuery {
    tail: Option<usize>,
}

pub(super) async fn console(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    session: Session,
    VmPath(vm): VmPath,
    Params(query): Params<ConsoleQuery>,
    request: Request,
) -> Answer {
    let tail = query.tail.unwrap_or_default();
    if tail > wire::MAX_LOG {
        return Err(Error::invalid("tail", format!("a log has at most {} bytes", wire::MAX_LOG)).into());
    }
    upgraded(app, (caller, session), vm, What::Console { tail }, request).await
}

/// Which port of a VM, and for whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VisitQuery {
    port: u16,
    visitor: Option<UserName>,
    #[serde(default)]
    admin: bool,
}

pub(super) async fn visit(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    session: Session,
    VmPath(vm): VmPath,
    Params(query): Params<VisitQuery>,
    request: Request,
) -> Answer {
    // Names change hands; a front door has looked its VM up already.
    let VmRef::Id(vm) = vm else { return Err(Error::not_found("there is no such VM; a visit takes an id").into()) };
    // A front door says whom it lets through; everybody else is who they are.
    let visitor = match (caller.role, &query.visitor) {
        (Role::Edge | Role::Admin, None) => None,
        (Role::Edge | Role::Admin, Some(name)) if query.admin => Some(Caller::admin(name.to_string())),
        (Role::Edge | Role::Admin, Some(name)) => Some(Caller::tenant(name.to_string())),
        (Role::Tenant, _) => Some(caller.clone()),
    };
    upgraded(app, (caller, session), VmRef::Id(vm), What::Visit { vm, visitor, port: query.port }, request).await
}

/// What a stream leads to.
#[derive(Clone, Debug)]
enum What {
    Call,
    Visit { vm: VmId, visitor: Option<Caller>, port: u16 },
    Console { tail: usize },
}

async fn upgraded(
    app: Arc<App>,
    (caller, session): (Caller, Session),
    vm: VmRef,
    what: What,
    mut request: Request,
) -> Answer {
    // Whoever may not know of the VM learns nothing here either.
    app.plane.vm(&caller, &vm).await?;
    let key = websocket_key(request.headers())?;
    let busy = || Error::new(ErrorKind::Exhausted, "too many streams are open; try again later").with_reason("rate");
    let place = app.stream_place(&caller).ok_or_else(busy)?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(not_a_websocket)?;
    let alive = request.extensions_mut().remove::<Alive>();
    let unhurried = request.extensions_mut().remove::<Unhurried>();
    tokio::spawn(async move {
        let _held = (place, alive);
        match upgrade.await {
            Ok(upgraded) => {
                if let Some(unhurried) = unhurried {
                    unhurried.set();
                }
                let config = Some(wire::socket_config());
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Side::Server, config).await;
                tokio::select! {
                    biased;
                    () = session.over() => {}
                    () = serve(app, caller, vm, what, socket) => {}
                }
            }
            Err(error) => tracing::debug!(%error, "a client left before its stream was open"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&key).map_err(|_| Failure(not_a_websocket()))?;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn not_a_websocket() -> Error {
    Error::invalid("upgrade", "this path is a WebSocket: connect to it with a WebSocket client")
}

/// The answer to a handshake's key.
fn websocket_key(headers: &HeaderMap) -> Result<String> {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") || !version {
        return Err(not_a_websocket());
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(not_a_websocket)?;
    Ok(derive_accept_key(key.as_bytes()))
}

async fn serve(app: Arc<App>, caller: Caller, vm: VmRef, what: What, mut socket: Socket) {
    let opened: Result<Box<dyn Io>> = match what {
        What::Call => match first_call(&mut socket).await {
            Ok(call) => app.plane.open(&caller, &vm, &call).await.map(|guest| Box::new(guest) as Box<dyn Io>),
            Err(error) => Err(error),
        },
        What::Visit { vm, visitor, port } => {
            let visited = app.plane.visit(visitor.as_ref(), vm, port).await;
            visited.map(|guest| Box::new(guest) as Box<dyn Io>)
        }
        What::Console { tail } => {
            app.plane.console(&caller, &vm, tail).await.map(|console| Box::new(console) as Box<dyn Io>)
        }
    };
    let ended = match opened {
        Ok(guest) => pump(socket, guest).await,
        Err(error) => refuse(socket, &error).await,
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error.chain(), "a stream ended badly");
    }
}

/// A stream of either kind.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn first_call(socket: &mut Socket) -> Result<GuestCall> {
    let late = |_| Error::new(ErrorKind::DeadlineExceeded, "the client did not say what it wants");
    match tokio::time::timeout(CALL_TIMEOUT, socket.next()).await.map_err(late)? {
        Some(Ok(Message::Text(text))) if text.len() <= wire::MAX_REQUEST_BODY => parse(text.as_bytes()),
        Some(Ok(_)) => Err(Error::invalid("call", "the first message is a call, as JSON text")),
        Some(Err(error)) => Err(broken(error)),
        None => Err(Error::new(ErrorKind::Unavailable, "the client left")),
    }
}

async fn refuse(mut socket: Socket, error: &Error) -> Result<()> {
    let text = serde_json::to_string(&Problem::from(error))
        .map_err(|error| Error::internal("cannot write a problem").with_source(error))?;
    socket.send(Message::text(text)).await.map_err(broken)?;
    socket.close(None).await.map_err(broken)
}

/// Both ways until either side ends. Each way holds at most one piece: who reads slowly is written to slowly.
async fn pump(mut socket: Socket, guest: Box<dyn Io>) -> Result<()> {
    socket.send(Message::text(wire::OPENED)).await.map_err(broken)?;
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_guest, mut to_guest) = tokio::io::split(guest);
    let down = async {
        let mut chunk = vec![0; wire::MAX_CHUNK];
        loop {
            let message = match tokio::time::timeout(PING_AFTER, from_guest.read(&mut chunk)).await {
                Ok(Ok(0)) => return to_client.close().await.map_err(broken),
                Ok(Ok(count)) => Message::Binary(Bytes::copy_from_slice(&chunk[..count])),
                Ok(Err(error)) => return Err(lost(error)),
                Err(_quiet) => Message::Ping(Bytes::new()),
            };
            to_client.send(message).await.map_err(broken)?;
        }
    };
    let up = async {
        while let Some(message) = from_client.next().await {
            match message.map_err(broken)? {
                Message::Binary(bytes) => {
                    to_guest.write_all(&bytes).await.map_err(lost)?;
                    to_guest.flush().await.map_err(lost)?;
                }
                Message::Close(_) => return Ok(()),
                Message::Text(_) => return Err(Error::invalid("message", "only binary messages follow the call")),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = down => ended,
        ended = up => ended,
    }
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the client's connection broke").with_source(error)
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the guest broke").with_source(error)
}
