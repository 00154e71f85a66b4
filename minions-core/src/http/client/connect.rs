//! A connection to a server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::endpoint::Endpoint;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::guest::GuestIoBox;

/// How long a server may take to answer the door.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects. Nothing was sent when it fails, so that nothing can have happened.
pub(super) async fn dial(endpoint: &Endpoint) -> Result<GuestIoBox> {
    let dialing = async {
        Ok::<GuestIoBox, std::io::Error>(match endpoint {
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Endpoint::Tcp(authority) => {
                let stream = TcpStream::connect(authority.as_str()).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    };
    let late = |_| Error::new(ErrorKind::Unavailable, format!("the server at {endpoint} does not answer"));
    let dialed = tokio::time::timeout(CONNECT_TIMEOUT, dialing).await.map_err(late)?;
    dialed.map_err(|error| {
        let message = format!("cannot reach the server at {endpoint}; is `minions serve` running?");
        Error::new(ErrorKind::Unavailable, message).with_effect(Effect::None).with_source(error)
    })
}

/// Connects for hyper's client; every address is the one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Endpoint);

impl tower_service::Service<Uri> for Connector {
    type Response = Link;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Link>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let endpoint = self.0.clone();
        Box::pin(async move { Ok(Link(TokioIo::new(dial(&endpoint).await?))) })
    }
}

/// A connection that hyper's client can pool.
pub(super) struct Link(TokioIo<GuestIoBox>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
