//! A stream into a guest, over a WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::body::Bytes;
use hyper::header::AUTHORIZATION;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::HttpControlPlane;
use super::connect::dial;
use super::request::refused;
use crate::api::guest::GuestCall;
use crate::api::v1::Problem;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::guest::GuestIoBox;
use crate::http::wire;
use crate::service::{Caller, ConsoleBox, Role, VmRef};
use crate::types::{UserName, VmId};

/// How long a server may take to open a stream: it connects to the guest meanwhile.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

impl HttpControlPlane {
    pub(super) async fn open_stream(&self, vm: &VmRef, call: &GuestCall) -> Result<GuestIoBox> {
        let text = serde_json::to_string(call)
            .map_err(|error| Error::invalid("call", "cannot be written as JSON").with_source(error))?;
        if text.len() > 64 << 10 {
            return Err(Error::invalid("call", "arguments and environment are larger than 64 KiB"));
        }
        Ok(Box::new(self.stream(&format!("/v1/vms/{vm}/open"), Some(text)).await?))
    }

    pub(super) async fn visit_stream(&self, visitor: Option<&Caller>, vm: VmId, port: u16) -> Result<GuestIoBox> {
        let mut path = format!("/v1/vms/{vm}/visit?port={port}");
        if let Some(visitor) = visitor {
            // An account's name has no letter that a query would take for its own.
            let name: UserName = visitor.owner.0.parse()?;
            path.push_str(&format!("&visitor={name}&admin={}", visitor.role == Role::Admin));
        }
        Ok(Box::new(self.stream(&path, None).await?))
    }

    pub(super) async fn console_stream(&self, vm: &VmRef, tail: usize) -> Result<ConsoleBox> {
        Ok(Box::new(self.stream(&format!("/v1/vms/{vm}/console?tail={tail}"), None).await?))
    }

    async fn stream(&self, path: &str, first: Option<String>) -> Result<SocketIo> {
        let late = |_| Error::new(ErrorKind::DeadlineExceeded, "the server did not open the stream");
        tokio::time::timeout(OPEN_TIMEOUT, self.handshake(path, first)).await.map_err(late)?
    }

    async fn handshake(&self, path: &str, first: Option<String>) -> Result<SocketIo> {
        let mut request = format!("ws://{}{path}", self.endpoint.authority())
            .into_client_request()
            .map_err(|error| Error::invalid("server", "cannot be asked").with_source(error))?;
        if let Some(header) = self.authorization() {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let stream = dial(&self.endpoint).await?;
        let config = Some(wire::socket_config());
        let opened = tokio_tungstenite::client_async_with_config(request, stream, config).await;
        let (mut socket, _) = opened.map_err(|error| match error {
            SocketError::Http(response) => {
                refused(response.status(), response.body().as_deref().unwrap_or_default(), Effect::None)
            }
            error => broken(error),
        })?;
        if let Some(text) = first {
            socket.send(Message::text(text)).await.map_err(broken)?;
        }
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(answer))) if answer.as_str() == wire::OPENED => {
                    return Ok(SocketIo { socket, left: Bytes::new() });
                }
                Some(Ok(Message::Text(answer))) => {
                    let problem: Problem = serde_json::from_str(&answer).map_err(|error| {
                        Error::new(ErrorKind::Unavailable, "the server's answer is not what this version understands")
                            .with_source(error)
                    })?;
                    return Err(problem.into());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_)) | None => return Err(Error::new(ErrorKind::Unavailable, "the server closed the stream")),
                Some(Err(error)) => return Err(broken(error)),
            }
        }
    }
}

fn broken(error: SocketError) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the server broke").with_source(error)
}

/// Bytes over binary messages, whose boundaries mean nothing.
struct SocketIo {
    socket: WebSocketStream<GuestIoBox>,
    left: Bytes,
}

impl AsyncRead for SocketIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.left.is_empty() {
                let count = self.left.len().min(to.remaining());
                to.put_slice(&self.left.split_to(count));
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.left = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::Error::other("a message that is no data"))),
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io::Error::other)?;
        let count = from.len().min(wire::MAX_CHUNK);
        let message = Message::Binary(Bytes::copy_from_slice(&from[..count]));
        Pin::new(&mut self.socket).start_send(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Ok(()) | Err(SocketError::ConnectionClosed | SocketError::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }
}
