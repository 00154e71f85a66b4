//! Frames over asynchronous streams.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{Frame, FrameDecoder};
use crate::error::{Effect, Error, ErrorKind, Result};

/// How much one read may bring.
const READ: usize = 64 * 1024;

pub(super) fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the agent broke")
        .with_effect(Effect::Unknown)
        .with_reason("agent_unhealthy")
        .with_source(error)
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: R,
    decoder: FrameDecoder,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from here.
    pub fn new(io: R) -> Self {
        Self { io, decoder: FrameDecoder::new() }
    }

    /// The next frame, or `None` where the stream ended between two. Cancel-safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            // Room for the whole frame at once: a buffer that grows piece by piece copies what it has each time.
            let most = self.decoder.missing().max(READ);
            self.decoder.buffer().reserve(most);
            let mut room = bytes::BufMut::limit(self.decoder.buffer(), most);
            if self.io.read_buf(&mut room).await.map_err(lost)? == 0 {
                self.decoder.finish()?;
                return Ok(None);
            }
        }
    }

    /// The next frame as a message; the end of the stream is an error.
    pub async fn message<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        match self.next().await? {
            Some(frame) => Ok(frame.message()?),
            None => Err(lost(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The stream, and the bytes that were read from it but belong to no frame handed out yet.
    pub fn into_parts(mut self) -> (R, BytesMut) {
        let left = std::mem::take(self.decoder.buffer());
        (self.io, left)
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter<W> {
    io: W,
    pending: BytesMut,
    /// What goes out behind `pending`, as its owner holds it.
    payload: Bytes,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to here.
    pub fn new(io: W) -> Self {
        Self { io, pending: BytesMut::new(), payload: Bytes::new() }
    }

    /// Sends a frame. After a dropped call the frame may or may not be on its way, but never half of it: the next call
    /// sends the rest first.
    pub async fn send(&mut self, frame: &Frame) -> Result<()> {
        if self.payload.has_remaining() {
            self.flush().await?;
        }
        // A large payload goes out as it lies, if the stream takes it together with its head.
        match self.io.is_write_vectored() {
            true => self.payload = frame.encode_head(&mut self.pending),
            false => frame.encode(&mut self.pending),
        }
        self.flush().await
    }

    /// Sends a message as a control frame.
    pub async fn message(&mut self, message: &impl serde::Serialize) -> Result<()> {
        self.send(&Frame::control(message)?).await
    }

    /// Adds a frame to what the next [`flush`](Self::flush) or [`send`](Self::send) sends, in the same write.
    pub fn queue(&mut self, frame: &Frame) {
        // The rest of a dropped call stays in front.
        self.pending.extend_from_slice(&std::mem::take(&mut self.payload));
        frame.encode(&mut self.pending);
    }

    /// Sends what is left of earlier calls.
    pub async fn flush(&mut self) -> Result<()> {
        loop {
            let mut left = (&mut self.pending).chain(&mut self.payload);
            if !left.has_remaining() {
                break;
            }
            if self.io.write_buf(&mut left).await.map_err(lost)? == 0 {
                return Err(lost(std::io::ErrorKind::WriteZero.into()));
            }
        }
        self.io.flush().await.map_err(lost)
    }

    /// The stream. What was not flushed is lost.
    pub fn into_inner(self) -> W {
        self.io
    }
}
