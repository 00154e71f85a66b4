//! Asks for a way into a VM and speaks HTTP over it.

use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::body::Inbound;
use super::stream::ForwardStream;
use crate::error::{Error, ErrorKind, Result};
use crate::proxy::route::Route;
use crate::service::{Caller, DynControlPlane};

/// Bytes of the largest head that a VM may answer with.
const MAX_HEAD: usize = 64 << 10;
/// Most headers of an answer.
const MAX_HEADERS: usize = 128;
/// Where a web server is looked for in a VM that names no port.
const PORTS: [u16; 5] = [80, 8080, 3000, 8000, 5000];

/// A connection that speaks HTTP/1.1 to a VM.
pub(crate) type Line = SendRequest<Inbound>;

/// A new connection to the port that a VM's name leads to.
pub(crate) async fn dial(
    plane: &DynControlPlane,
    visitor: Option<&Caller>,
    route: &Route,
    limit: Duration,
) -> Result<Line> {
    let late = |_| Error::new(ErrorKind::DeadlineExceeded, "the VM did not take the connection in time");
    let stream = tokio::time::timeout(limit, connect(plane, visitor, route)).await.map_err(late)??;
    let failed =
        |error: hyper::Error| Error::new(ErrorKind::Unavailable, "no HTTP over the connection").with_source(error);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (line, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection into a VM ended badly");
        }
    });
    Ok(line)
}

async fn connect(plane: &DynControlPlane, visitor: Option<&Caller>, route: &Route) -> Result<ForwardStream> {
    if let Some(port) = route.access.port {
        return ForwardStream::connect(plane.visit(visitor, route.id, port).await?).await;
    }
    let mut refused = Error::new(ErrorKind::Unavailable, "nothing listens in the VM");
    for port in PORTS {
        match ForwardStream::connect(plane.visit(visitor, route.id, port).await?).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.reason().is_none() && error.kind() == ErrorKind::Unavailable => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}
