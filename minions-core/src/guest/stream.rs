//! A connection that its door can cut off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, Shutdown, send, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::door::Line;

/// A connection to or from a guest. Dropping it closes it: the door only remembers it weakly.
#[derive(Debug)]
pub(super) struct GuestStream(Arc<Line>);

impl GuestStream {
    pub fn new(line: Arc<Line>) -> Self {
        Self(line)
    }
}

/// Ends both directions for whoever holds it.
pub(super) fn hang_up(line: &Line) {
    // One that is closed already is what we want.
    let _ = shutdown(line.get_ref(), Shutdown::Both);
}

impl AsyncRead for GuestStream {
    #[expect(
        unsafe_code,
        reason = "a reader's room need not be cleared before it is filled, which took longer than reading"
    )]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let room = buffer.remaining();
            // SAFETY: nothing here takes initialised bytes back: `read` only ever writes.
            let place = unsafe { buffer.unfilled_mut() };
            match ready.try_io(|line| Ok(rustix::io::read(line.get_ref(), &mut *place)?.0.len())) {
                Ok(Ok(count)) => {
                    // SAFETY: `read` has told of these bytes that it has written them.
                    unsafe { buffer.assume_init(count) };
                    buffer.advance(count);
                    // That was all there is: asking once more would only tell so.
                    if (1..room).contains(&count) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            match ready.try_io(|line| Ok(send(line.get_ref(), bytes, SendFlags::NOSIGNAL)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let send = |line: &Line| {
                let mut control = rustix::net::SendAncillaryBuffer::default();
                Ok(rustix::net::sendmsg(line.get_ref(), slices, &mut control, SendFlags::NOSIGNAL)?)
            };
            match ready.try_io(send) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Half-close does not exist on every transport of a guest, so it is not offered on any: the whole connection
        // ends, as it would there.
        hang_up(&self.0);
        Poll::Ready(Ok(()))
    }
}
