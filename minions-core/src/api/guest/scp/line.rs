//! Messages, acknowledgements and bytes over frames.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::api::guest::{CHANNEL_MAIN, Frame, FrameError, FrameReader, FrameWriter, sanitize_line};
use crate::error::{Error, ErrorKind, Result};

/// Longest message, in bytes: a name has at most 255, and an explanation may be long.
const MAX_LINE: usize = 8 << 10;

const OK: u8 = 0;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

pub(super) fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the client does not speak scp: {what}"))
}

/// The two directions, and how many files went wrong.
pub(super) struct Line<'c, R, W> {
    reader: &'c mut FrameReader<R>,
    pub(super) writer: &'c mut FrameWriter<W>,
    input: BytesMut,
    ended: bool,
    pub(super) errors: u32,
}

impl<'c, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Line<'c, R, W> {
    pub(super) fn new(reader: &'c mut FrameReader<R>, writer: &'c mut FrameWriter<W>) -> Self {
        Self { reader, writer, input: BytesMut::new(), ended: false, errors: 0 }
    }

    /// Waits until there is something; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool> {
        while self.input.is_empty() && !self.ended {
            match self.reader.next().await? {
                Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => self.input.extend_from_slice(&bytes),
                Some(Frame::End { channel: CHANNEL_MAIN }) => self.ended = true,
                Some(_) => return Err(FrameError::NotControl.into()),
                None => return Err(FrameError::Truncated.into()),
            }
        }
        Ok(!self.input.is_empty())
    }

    /// The next byte; `None` at the end.
    pub(super) async fn byte(&mut self) -> Result<Option<u8>> {
        Ok(if self.fill().await? { self.input.split_to(1).first().copied() } else { None })
    }

    /// What there is, up to so many bytes. The stream does not end here.
    pub(super) async fn piece(&mut self, most: u64) -> Result<Bytes> {
        if !self.fill().await? {
            return Err(broken("it hung up within a file"));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.input.len());
        Ok(self.input.split_to(most).freeze())
    }

    /// The rest of a message.
    pub(super) async fn message(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.byte().await? {
                Some(b'\n') => return Ok(line),
                Some(_) if line.len() == MAX_LINE => return Err(broken("a message is too long")),
                Some(byte) => line.push(byte),
                None => return Err(broken("it hung up within a message")),
            }
        }
    }

    /// Whether the other side goes along. That it does not with this file it has said; that it ends is an error.
    pub(super) async fn agreed(&mut self) -> Result<bool> {
        match self.byte().await? {
            Some(OK) => Ok(true),
            Some(WARNING) => {
                self.message().await?;
                self.errors += 1;
                Ok(false)
            }
            Some(FATAL) => {
                self.message().await?;
                Err(Error::new(ErrorKind::Unavailable, "the client gave up"))
            }
            Some(_) => Err(broken("an acknowledgement was due")),
            None => Err(Error::new(ErrorKind::Unavailable, "the client hung up")),
        }
    }

    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        self.writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes: bytes.into() }).await
    }

    pub(super) async fn agree(&mut self) -> Result<()> {
        self.send(&[OK][..]).await
    }

    /// Tells the other side what is wrong with one file, and goes on.
    pub(super) async fn warn(&mut self, path: &[u8], why: impl std::fmt::Display) -> Result<()> {
        self.errors += 1;
        let text = format!("{}: {why}", String::from_utf8_lossy(path));
        let mut message = vec![WARNING];
        message.extend_from_slice(format!("scp: {}\n", sanitize_line(&text, MAX_LINE / 4)).as_bytes());
        self.send(message).await
    }
}
