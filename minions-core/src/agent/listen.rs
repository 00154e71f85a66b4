//! Where hosts reach the agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener};

use super::error::about;
use super::log::say;
use super::modest::Modest;
use super::server::Agent;
use crate::error::Result;

/// How long accepting pauses when the system has no room for one more connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Where hosts reach the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// A VSOCK port, for the host alone: others in the guest are turned away.
    Vsock(u32),
    /// A UNIX socket, for tests and stub monitors. A stale socket file is replaced.
    Unix(PathBuf),
}

/// Listens, and returns what serves every connection on a task of its own, for ever. Once this has returned, hosts get
/// through.
pub async fn listen(agent: Arc<Agent>, door: Door) -> Result<impl Future<Output = ()> + Send> {
    let listener = match &door {
        Door::Vsock(port) => Listener::Vsock(
            VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, *port))
                .map_err(|error| about(format_args!("cannot listen on VSOCK port {port}"), error))?,
        ),
        Door::Unix(path) => {
            // Left over from an agent that was killed.
            let _ = std::fs::remove_file(path);
            Listener::Unix(UnixListener::bind(path).map_err(|error| about(path.display(), error))?)
        }
    };
    Ok(async move {
        loop {
            match listener.accept().await {
                Ok(Some(stream)) => {
                    let agent = agent.clone();
                    tokio::spawn(async move {
                        if let Err(error) = agent.serve_stream(stream).await {
                            say(format_args!("{}", error.chain()));
                        }
                    });
                }
                Ok(None) => say(format_args!("turned away a connection that is not the host's")),
                Err(error) => {
                    say(format_args!("cannot accept a connection: {error}"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

enum Listener {
    Vsock(VsockListener),
    Unix(UnixListener),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Listener {
    /// `None` for a peer that is not the host.
    async fn accept(&self) -> std::io::Result<Option<Box<dyn Io>>> {
        match self {
            Self::Vsock(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((peer.cid() == VMADDR_CID_HOST).then(|| Box::new(Modest::new(stream)) as Box<dyn Io>))
            }
            Self::Unix(listener) => Ok(Some(Box::new(listener.accept().await?.0))),
        }
    }
}
