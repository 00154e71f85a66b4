//! A program that runs in a guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::io::ReadHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{hung_up, unexpected};
use crate::api::guest::{
    CHANNEL_MAIN, CHANNEL_STDERR, ExecControl, ExecEvent, Frame, FrameReader, FrameWriter, STDIN_WINDOW, Signal,
    TtySize,
};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::GuestIoBox;

/// Most bytes of stdin in one frame: small, so that a signal is never far behind.
const PIECE: usize = 64 * 1024;

/// Something that the program did. Its bytes are the guest's: not for a terminal without its owner's wish.
#[derive(Debug)]
pub enum ExecItem {
    /// It runs.
    Started {
        /// As the guest counts.
        pid: u32,
    },
    /// It wrote to stdout, or to its terminal.
    Stdout(Bytes),
    /// It wrote to stderr.
    Stderr(Bytes),
    /// It is over, and so is the session.
    End(ExecEnd),
}

/// How a program ended.
#[derive(Debug)]
pub enum ExecEnd {
    /// By itself.
    Exited(u8),
    /// By a signal.
    Signaled(Signal),
    /// It did not start.
    Failed(Error),
}

impl ExecEnd {
    /// What a shell would say: the status, 128 and the signal, 127 where there is no such program, 126 where it may not
    /// be run, 255 where the agent failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited(code) => *code,
            Self::Signaled(signal) => 128u8.saturating_add(signal.0),
            Self::Failed(error) => match error.kind() {
                ErrorKind::NotFound => 127,
                ErrorKind::Denied => 126,
                _ => 255,
            },
        }
    }
}

/// A session on a stream on which `GuestCall::Exec` was sent. Dropping the output hangs up, and ends the program.
///
/// Needs a runtime: a task of its own writes.
#[must_use]
pub fn exec(io: GuestIoBox) -> (ExecInput, ExecOutput) {
    let (read, write) = tokio::io::split(io);
    // Small, so that what is sent waits in the window and not here.
    let (frames, mut queue) = mpsc::channel::<Frame>(2);
    let task = tokio::spawn(async move {
        let mut writer = FrameWriter::new(write);
        while let Some(frame) = queue.recv().await {
            writer.send(&frame).await?;
        }
        Ok(())
    });
    let window = Arc::new(Window { free: Semaphore::new(STDIN_WINDOW), away: AtomicU64::new(0) });
    let input = ExecInput { frames, window: window.clone() };
    (input, ExecOutput { reader: FrameReader::new(read), window, writer: AbortOnDrop(task), over: false })
}

/// What was sent and not yet taken.
#[derive(Debug)]
struct Window {
    free: Semaphore,
    away: AtomicU64,
}

impl Window {
    async fn take(&self, bytes: usize) -> Result<()> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.free.acquire_many(permits).await.map_err(|_| ended())?.forget();
        self.away.fetch_add(u64::from(permits), Ordering::AcqRel);
        Ok(())
    }

    fn give_back(&self, bytes: u64) -> Result<()> {
        // A guest that gives back more than it got would open the window without end.
        self.away
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |away| away.checked_sub(bytes))
            .map_err(|_| unexpected())?;
        self.free.add_permits(usize::try_from(bytes).unwrap_or(0));
        Ok(())
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the program has ended").with_reason("exec_ended")
}

/// Sends to a program. Its clones send to the same one.
#[derive(Clone, Debug)]
pub struct ExecInput {
    frames: mpsc::Sender<Frame>,
    window: Arc<Window>,
}

impl ExecInput {
    /// Sends to stdin; waits while the program does not read. `Unavailable` with the reason `exec_ended` once it is over.
    pub async fn write(&self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.window.take(piece.len()).await?;
            self.send(Frame::Data { channel: CHANNEL_MAIN, bytes: piece }).await?;
        }
        Ok(())
    }

    /// Ends stdin.
    pub async fn close(&self) -> Result<()> {
        self.send(Frame::End { channel: CHANNEL_MAIN }).await
    }

    /// The terminal has another size.
    pub async fn resize(&self, size: TtySize) -> Result<()> {
        self.send(Frame::control(&ExecControl::Resize(size))?).await
    }

    /// Sends a signal to the program's process group.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        self.send(Frame::control(&ExecControl::Signal { signal })?).await
    }

    async fn send(&self, frame: Frame) -> Result<()> {
        self.frames.send(frame).await.map_err(|_| ended())
    }
}

/// Receives from a program.
pub struct ExecOutput {
    reader: FrameReader<ReadHalf<GuestIoBox>>,
    window: Arc<Window>,
    writer: AbortOnDrop,
    over: bool,
}

impl std::fmt::Debug for ExecOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecOutput").field("over", &self.over).finish_non_exhaustive()
    }
}

impl ExecOutput {
    /// What happens next. Cancel-safe. `None` after the end; a connection that breaks before it is an error.
    pub async fn next(&mut self) -> Result<Option<ExecItem>> {
        if self.over {
            return Ok(None);
        }
        match self.step().await {
            Ok(item) => {
                if matches!(item, ExecItem::End(_)) {
                    self.end();
                }
                Ok(Some(item))
            }
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    async fn step(&mut self) -> Result<ExecItem> {
        loop {
            let event = match self.reader.next().await? {
                Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => return Ok(ExecItem::Stdout(bytes)),
                Some(Frame::Data { channel: CHANNEL_STDERR, bytes }) => return Ok(ExecItem::Stderr(bytes)),
                Some(Frame::End { channel: CHANNEL_MAIN | CHANNEL_STDERR }) => continue,
                Some(Frame::Data { .. } | Frame::End { .. }) => return Err(unexpected()),
                Some(frame) => frame.message::<ExecEvent>()?,
                None => return Err(hung_up()),
            };
            return Ok(match event {
                ExecEvent::StdinTaken { bytes } => {
                    self.window.give_back(bytes)?;
                    continue;
                }
                ExecEvent::Started { pid } => ExecItem::Started { pid },
                ExecEvent::Exited { code } => ExecItem::End(ExecEnd::Exited(code)),
                ExecEvent::Signaled { signal } => ExecItem::End(ExecEnd::Signaled(signal)),
                ExecEvent::Failed { error } => ExecItem::End(ExecEnd::Failed(error.into())),
            });
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.window.free.close();
        self.writer.0.abort();
    }
}

/// Ends the writing task together with the session.
struct AbortOnDrop(JoinHandle<Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
