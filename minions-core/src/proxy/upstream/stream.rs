//! A byte stream over the frames of a forward.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::api::guest::{CHANNEL_MAIN, Frame, FrameDecoder, FrameError, FrameReader, Reply, encode_data};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::GuestIoBox;

/// How much one read may bring.
const READ: usize = 64 * 1024;
/// About how much may wait to be written.
const PIECE: usize = 64 * 1024;

/// A connection to a TCP port in a guest.
pub(super) struct ForwardStream {
    io: GuestIoBox,
    decoder: FrameDecoder,
    /// Read, and not taken yet.
    data: Bytes,
    /// The guest has ended its side.
    ended: bool,
    /// Framed, and not written yet.
    out: BytesMut,
    /// The end of our side is framed.
    closed: bool,
}

impl ForwardStream {
    /// Waits until the guest is connected.
    pub async fn connect(io: GuestIoBox) -> Result<Self> {
        let mut reader = FrameReader::new(io);
        match reader.message::<Reply>().await?.ok()? {
            Reply::Accepted => {}
            _ => {
                return Err(Error::new(ErrorKind::Unavailable, "the agent sent something that was not due")
                    .with_reason("agent_unhealthy"));
            }
        }
        let (io, left) = reader.into_parts();
        let mut decoder = FrameDecoder::new();
        decoder.feed(&left);
        Ok(Self { io, decoder, data: Bytes::new(), ended: false, out: BytesMut::new(), closed: false })
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.has_remaining() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for ForwardStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.data.has_remaining() {
                let count = this.data.len().min(to.remaining());
                to.put_slice(&this.data.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if this.ended || to.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match this.decoder.next_frame().map_err(broken)? {
                Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => this.data = bytes,
                Some(Frame::End { channel: CHANNEL_MAIN }) => this.ended = true,
                Some(_) => return Poll::Ready(Err(broken(FrameError::NotControl))),
                None => {
                    let mut piece = [std::mem::MaybeUninit::<u8>::uninit(); READ];
                    let mut read = ReadBuf::uninit(&mut piece);
                    ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
                    let count = read.filled().len();
                    this.decoder.feed(read.filled());
                    if count == 0 {
                        this.decoder.finish().map_err(broken)?;
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for ForwardStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.out.len() >= PIECE {
            ready!(self.drain(cx))?;
        }
        let count = from.len().min(PIECE);
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        encode_data(CHANNEL_MAIN, &from[..count], &mut self.out);
        // What does not go at once goes with the next write or flush.
        if let Poll::Ready(Err(error)) = self.drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            Frame::End { channel: CHANNEL_MAIN }.encode(&mut self.out);
        }
        self.poll_flush(cx)
    }
}
