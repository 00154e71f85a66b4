//! Files and tar streams, out of a guest and into it.

use bytes::Bytes;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::{hung_up, unexpected, within};
use crate::api::guest::{CHANNEL_MAIN, FileInfo, Frame, FrameReader, FrameWriter, MAX_DATA, Reply, Untrusted};
use crate::error::Result;
use crate::guest::GuestIoBox;

/// What comes after `GuestCall::ReadFile` and `GuestCall::TarOut`.
#[derive(Debug)]
pub struct Download {
    reader: FrameReader<DebugIo>,
    done: bool,
}

/// Keeps the boxed stream out of `Debug`.
struct DebugIo(GuestIoBox);

impl std::fmt::Debug for DebugIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestIo")
    }
}

impl tokio::io::AsyncRead for DebugIo {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Download {
    /// Waits until the agent says what it sends.
    pub async fn begin(io: GuestIoBox, deadline: Instant) -> Result<(Self, Untrusted<FileInfo>)> {
        let mut reader = FrameReader::new(DebugIo(io));
        match within(deadline, async { reader.message::<Reply>().await?.ok() }).await? {
            Reply::Info(info) => Ok((Self { reader, done: false }, Untrusted::new(info))),
            _ => Err(unexpected()),
        }
    }

    /// The next piece; `None` once all of it was sent. A stream that breaks off is an error, never an end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.done {
            return Ok(None);
        }
        match self.reader.next().await? {
            Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => Ok(Some(bytes)),
            Some(Frame::End { channel: CHANNEL_MAIN }) => {
                self.done = true;
                Ok(None)
            }
            Some(frame @ Frame::Control(_)) => {
                frame.message::<Reply>()?.ok()?;
                Err(unexpected())
            }
            Some(Frame::Data { .. } | Frame::End { .. }) => Err(unexpected()),
            None => Err(hung_up()),
        }
    }
}

/// What was moved into a guest, as the guest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Entries of a tar stream, else 1.
    pub entries: u64,
}

/// What goes after `GuestCall::WriteFile` and `GuestCall::TarIn`. Dropped before [`finish`](Self::finish), it leaves a
/// written file as it was.
pub struct Upload {
    reader: FrameReader<ReadHalf<GuestIoBox>>,
    writer: FrameWriter<WriteHalf<GuestIoBox>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upload")
    }
}

impl Upload {
    /// On a stream on which the call was sent.
    #[must_use]
    pub fn new(io: GuestIoBox) -> Self {
        let (read, write) = tokio::io::split(io);
        Self { reader: FrameReader::new(read), writer: FrameWriter::new(write) }
    }

    /// Sends a piece. An agent that has given up says so here.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(MAX_DATA));
            self.send(Frame::Data { channel: CHANNEL_MAIN, bytes: piece }).await?;
        }
        Ok(())
    }

    /// Says that this was all, and waits until the agent has it.
    pub async fn finish(mut self, deadline: Instant) -> Result<Untrusted<Moved>> {
        within(deadline, async {
            self.send(Frame::End { channel: CHANNEL_MAIN }).await?;
            match self.reader.message::<Reply>().await?.ok()? {
                Reply::Done { bytes, entries } => Ok(Untrusted::new(Moved { bytes, entries })),
                _ => Err(unexpected()),
            }
        })
        .await
    }

    async fn send(&mut self, frame: Frame) -> Result<()> {
        // Both are cancel-safe, and a reply before the end can only be a refusal.
        let early = tokio::select! {
            biased;
            early = self.reader.message::<Reply>() => early,
            sent = self.writer.send(&frame) => match sent {
                Ok(()) => return Ok(()),
                // The agent may have said why before it hung up.
                Err(broken) => match self.reader.message::<Reply>().await {
                    Ok(reply) => Ok(reply),
                    Err(_) => return Err(broken),
                },
            },
        };
        early?.ok()?;
        Err(unexpected())
    }
}
