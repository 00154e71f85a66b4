//! The `scp` of old, as its far end: what `scp -t` and `scp -f` do in a guest that has no such program.
//!
//! Each message is a line that the other side acknowledges by a byte. Like SFTP it is spoken in the guest, and for the same
//! reasons.
//!
//! ```text
//! request.rs  what is asked                        line.rs  messages, acknowledgements and bytes over frames
//! source.rs   sends files: `scp -f`                sink.rs  takes files: `scp -t`
//! ```

mod line;
mod request;
mod sink;
mod source;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use self::line::Line;
use super::sftp::GuestFiles;
use super::{CHANNEL_MAIN, Frame, FrameReader, FrameWriter, Reply};
use crate::error::{Error, ErrorKind, Result};

pub use request::{ScpMode, ScpRequest};

/// Directories below each other that are followed.
const MAX_DEPTH: usize = 128;

/// Serves one run. What went wrong with single files the client is told in the protocol; the run fails then in the end.
pub async fn serve_scp<F, R, W>(
    files: Arc<F>,
    request: ScpRequest,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
) -> Result<()>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    writer.message(&Reply::Accepted).await?;
    let mut line = Line::new(reader, writer);
    let done = match request.mode {
        ScpMode::Source => source::send(&files, &request, &mut line).await,
        ScpMode::Sink => sink::take(&files, &request, &mut line).await,
    };
    let failed = match done {
        Ok(()) if line.errors == 0 => return line.writer.send(&Frame::End { channel: CHANNEL_MAIN }).await,
        Ok(()) => Error::new(ErrorKind::InvalidArgument, "not every file was copied"),
        Err(error) => error,
    };
    line.writer.message(&Reply::Failed { error: (&failed).into() }).await
}

/// Runs work that may block on a thread of its own.
async fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("work on files broke off").with_source(error))
}
