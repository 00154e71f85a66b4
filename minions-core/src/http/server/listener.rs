//! Sockets: who may connect, and what is behind which door.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::error::{Error, ErrorKind, Result};

/// What is behind a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The API and the probes, for users of this machine.
    Local,
    /// The API, by token only.
    Network,
    /// The probes only, without authentication.
    Private,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) door: Door,
    pub(super) uid: Option<u32>,
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    pub(super) door: Door,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix { listener: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

/// A byte stream from a client.
pub(super) trait ClientIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ClientIo for T {}

impl Listener {
    /// A UNIX socket that only its owner can open. One that is there already is replaced if nobody listens on it; what is
    /// no socket is left alone.
    pub fn unix(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot listen on {}", path.display())).with_source(error)
        };
        match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.file_type().is_socket() && is_answered(path).map_err(failed)? => {
                let message = format!("another program listens on {}; end it, or use another path", path.display());
                return Err(Error::new(ErrorKind::Conflict, message).with_reason("in_use"));
            }
            Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
            Ok(_) => {
                let message = format!("{} is there and is no socket; move it away", path.display());
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { door: Door::Local, socket: Socket::Unix { listener, path: path.to_owned() } })
    }

    /// A TCP socket for the API. Clients need a token: with an empty table it can only be refused, so that one must be
    /// there. Beyond loopback the operator must have said that something in front of it encrypts.
    pub async fn network(address: SocketAddr, has_tokens: bool, plaintext_allowed: bool) -> Result<Self> {
        if !has_tokens {
            let message = format!("refusing to listen on {address}: no token is configured; set api.token_file");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        if !address.ip().is_loopback() && !plaintext_allowed {
            let message = format!(
                "refusing to listen on {address}: tokens would cross the network unencrypted; listen on 127.0.0.1, or set \
                 api.allow_plaintext where something in front of it encrypts"
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Ok(Self { door: Door::Network, socket: Socket::Tcp(bind(address).await?) })
    }

    /// A TCP socket for the probes and metrics. Loopback only, since nobody is asked who they are; and not even there
    /// where guests can reach the host's loopback, as behind QEMU's own NAT.
    pub async fn private(address: SocketAddr, guests_reach_it: bool) -> Result<Self> {
        if guests_reach_it {
            let message = format!(
                "refusing to show metrics on {address}: on this host's network, guests can reach it; read them from the \
                 UNIX socket: curl --unix-socket SOCKET http://minions/metrics"
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        if !address.ip().is_loopback() {
            let message = format!("refusing to show metrics on {address}: it is not a loopback address");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Ok(Self { door: Door::Private, socket: Socket::Tcp(bind(address).await?) })
    }

    /// Where it listens, where that is a TCP socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Unix { .. } => None,
            Socket::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    pub(super) async fn accept(&self) -> std::io::Result<(Box<dyn ClientIo>, Peer)> {
        match &self.socket {
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Box::new(stream), Peer { door: self.door, uid: Some(uid) }))
            }
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // A peer that vanished without a word is found by the kernel, also under a stream that is quiet for
                // hours because nobody types.
                let keepalive = socket2::TcpKeepalive::new()
                    .with_time(Duration::from_secs(30))
                    .with_interval(Duration::from_secs(10))
                    .with_retries(3);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                Ok((Box::new(stream), Peer { door: self.door, uid: None }))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, .. } = &self.socket
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "the socket's file is left");
        }
    }
}

/// Whether anybody listens on a socket. Asked without waiting.
fn is_answered(path: &Path) -> std::io::Result<bool> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        // Somebody does, and has a long queue.
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}")).with_source(error))
}
