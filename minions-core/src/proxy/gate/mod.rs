//! Between a client and the HTTP/1.1 parser: only what can be read in one way goes through.
//!
//! ```text
//! framing.rs  where a request's head and body begin and end: no I/O     head.rs  whether a head can be read in one way
//! ```

mod framing;
mod head;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use framing::{Framing, Step};

/// How much one read may bring.
const READ: usize = 16 * 1024;
/// What no parser takes: it answers 400 and closes.
const NO_REQUEST: &[u8] = b"\0\r\n\r\n";

/// Once set, what passes is no HTTP any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened(Arc<AtomicBool>);

impl Opened {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream whose requests are all read by [`Framing`] before the parser sees them, until it is opened. Writes fail when
/// not one byte could be written for too long.
pub(super) struct Gate<S> {
    io: S,
    opened: Opened,
    framing: Framing,
    /// Read from the client, and not handed on.
    buffer: BytesMut,
    /// How much of it may be handed on.
    free: usize,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Gate<S> {
    pub fn new(io: S, limit: Duration, opened: Opened) -> Self {
        Self { io, opened, framing: Framing::default(), buffer: BytesMut::new(), free: 0, limit, stalled: None }
    }

    fn hand_on(&mut self, to: &mut ReadBuf<'_>) {
        let count = self.free.min(to.remaining());
        to.put_slice(&self.buffer[..count]);
        self.buffer.advance(count);
        self.free -= count;
    }

    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        // A tunnel has a limit of its own.
        if self.opened.is() { Poll::Pending } else { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.free > 0 {
                this.hand_on(to);
                return Poll::Ready(Ok(()));
            }
            if this.opened.is() {
                if this.buffer.is_empty() {
                    return Pin::new(&mut this.io).poll_read(cx, to);
                }
                this.free = this.buffer.len();
                continue;
            }
            match this.framing.step(&this.buffer) {
                Step::Pass(count) => {
                    this.free = count;
                    continue;
                }
                Step::More => {}
                Step::NoRequest => {
                    this.buffer = BytesMut::from(NO_REQUEST);
                    this.free = this.buffer.len();
                    continue;
                }
                Step::NoBody => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            let mut piece = [std::mem::MaybeUninit::<u8>::uninit(); READ];
            let mut read = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.buffer.extend_from_slice(read.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, from);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, from);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
