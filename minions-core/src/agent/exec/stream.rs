//! The agent's ends of a program's stdin, stdout and stderr.

use std::os::fd::OwnedFd;

use bytes::{BufMut, Bytes, BytesMut};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// How much one read may bring.
const PIECE: usize = 64 * 1024;

/// Most bytes that are read once the program has ended: more than a pipe or a terminal can hold, so that all it wrote
/// is sent, and others who keep the pipe open cannot go on for ever.
const LAST: usize = 1 << 20;

/// Where a program's output is read.
pub(super) struct Source {
    pub io: Box<dyn AsyncRead + Send + Unpin>,
    /// The same file. Tokio knows only what it was told; at the end the kernel itself must say that no more is there.
    pub fd: OwnedFd,
    pub buffer: BytesMut,
}

impl Source {
    pub(super) fn new(io: impl AsyncRead + Send + Unpin + 'static, fd: OwnedFd) -> Self {
        Self { io: Box::new(io), fd, buffer: BytesMut::new() }
    }

    /// The next piece; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.buffer.reserve(PIECE);
        let mut room = (&mut self.buffer).limit(PIECE);
        match self.io.read_buf(&mut room).await {
            // A terminal that nobody holds open any more says EIO.
            Ok(0) | Err(_) => None,
            Ok(_) => Some(self.buffer.split().freeze()),
        }
    }

    /// What is left after the program's end, piece by piece, without waiting. `taken` counts over all pieces.
    pub(super) fn left(&mut self, taken: &mut usize) -> Option<Bytes> {
        let mut piece = Vec::with_capacity(PIECE);
        while *taken < LAST {
            match rustix::io::read(&self.fd, spare_capacity(&mut piece)) {
                Ok(0) => return None,
                Ok(read) => {
                    *taken += read;
                    return Some(piece.into());
                }
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

/// Where a program's stdin is written.
pub(super) enum Sink {
    /// Nobody reads.
    Closed,
    Pipe(tokio::net::unix::pipe::Sender),
    Terminal(pty_process::OwnedWritePty),
}

impl Sink {
    pub(super) fn io(&mut self) -> Option<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Closed => None,
            Self::Pipe(pipe) => Some(pipe),
            Self::Terminal(terminal) => Some(terminal),
        }
    }
}
