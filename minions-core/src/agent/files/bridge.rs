//! Between frames and code that blocks: bounded queues, so that a slow side slows the other one.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::api::guest::{CHANNEL_MAIN, Frame, FrameError, FrameReader, FrameWriter};
use crate::error::{Error, ErrorKind, Result};

/// Pieces that may wait.
const DEPTH: usize = 4;
/// Bytes of a piece that is sent.
const PIECE: usize = 128 * 1024;

/// What a stream of the host brought, for code that blocks.
pub(super) struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    /// Bytes handed out so far.
    pub taken: u64,
    /// Whether the stream ended as it should: with an end frame.
    pub whole: bool,
}

impl Incoming {
    /// Waits until there is something in the piece, or the stream has ended.
    fn fill(&mut self) -> io::Result<()> {
        while self.piece.is_empty() && !self.whole {
            // An empty piece stands for the end frame; a queue that closes without one broke.
            match self.pieces.blocking_recv() {
                Some(piece) if piece.is_empty() => self.whole = true,
                Some(piece) => self.piece = piece,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(())
    }

    /// Writes all of it, piece by piece as it came: `io::copy` would cut it into pieces of 8 KiB.
    pub fn write_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        loop {
            self.fill()?;
            let piece = std::mem::take(&mut self.piece);
            if piece.is_empty() {
                return Ok(());
            }
            to.write_all(&piece)?;
            self.taken += piece.len() as u64;
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let read = to.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut to[..read]);
        self.taken += read as u64;
        Ok(read)
    }
}

/// Runs work that reads the host's stream, on a thread of its own. The work may end before the stream does.
pub(super) async fn read_through<R, T>(
    reader: &mut FrameReader<R>,
    work: impl FnOnce(Incoming) -> Result<T> + Send + 'static,
) -> Result<T>
where
    R: AsyncRead + Unpin,
    T: Send + 'static,
{
    let (queue, pieces) = mpsc::channel(DEPTH);
    let incoming = Incoming { pieces, piece: Bytes::new(), taken: 0, whole: false };
    let mut worker = tokio::task::spawn_blocking(move || work(incoming));
    let feed = async {
        loop {
            let piece = match reader.next().await? {
                Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => bytes,
                Some(Frame::End { channel: CHANNEL_MAIN }) => Bytes::new(),
                Some(_) => return Err(Error::internal("the host sent a frame that was not due")),
                None => return Err(FrameError::Truncated.into()),
            };
            let last = piece.is_empty();
            // A worker that wants no more has its own result.
            if queue.send(piece).await.is_err() || last {
                return Ok(());
            }
        }
    };
    let broke = tokio::select! {
        done = &mut worker => return flatten(done),
        fed = feed => fed.err(),
    };
    // Closes the queue: without the end frame the worker sees that the stream broke.
    drop(queue);
    let done = flatten(worker.await);
    match broke {
        Some(broke) => Err(broke),
        None => done,
    }
}

fn flatten<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.unwrap_or_else(|error| Err(Error::internal("the agent's work broke off").with_source(error)))
}

/// Takes what code that blocks writes, for the host.
pub(super) struct Outgoing {
    pieces: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Outgoing {
    /// Reads into the piece, as much as it has room for. `false` at the end of what there is.
    pub fn fill_from(&mut self, from: &mut impl Read) -> io::Result<bool> {
        let room = PIECE - self.piece.len();
        Ok(from.take(room as u64).read_to_end(&mut self.piece)? > 0)
    }

    /// Hands the piece over.
    pub fn pass(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.pieces.blocking_send(piece.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.pass()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass()
    }
}

/// Runs work that writes a stream for the host, on a thread of its own, and sends it. The caller says how it ended.
pub(super) async fn write_through<W>(
    writer: &mut FrameWriter<W>,
    work: impl FnOnce(&mut Outgoing) -> Result<()> + Send + 'static,
) -> Result<()>
where
    W: AsyncWrite + Unpin,
{
    let (queue, mut pieces) = mpsc::channel::<Bytes>(DEPTH);
    let worker = tokio::task::spawn_blocking(move || {
        let mut outgoing = Outgoing { pieces: queue, piece: Vec::with_capacity(PIECE) };
        work(&mut outgoing)?;
        outgoing.flush().map_err(|error| Error::new(ErrorKind::Unavailable, "the host hung up").with_source(error))
    });
    while let Some(bytes) = pieces.recv().await {
        writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes }).await?;
    }
    flatten(worker.await)
}
