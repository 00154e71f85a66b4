//! Runs a program for a host.

mod session;
mod spawn;
mod stream;
mod user;

use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use spawn::PATH;
pub(super) use user::find as find_user;

use crate::api::guest::{ExecEvent, ExecRequest, FrameReader, FrameWriter};
use crate::error::Result;

/// Serves an exec call to its end: that of the program, or of the connection.
pub(super) async fn run<R, W>(request: ExecRequest, reader: FrameReader<R>, mut writer: FrameWriter<W>) -> Result<()>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    match request.check().and_then(|()| spawn::spawn(&request)) {
        Ok(running) => session::run(running, reader, writer).await,
        Err(error) => writer.message(&ExecEvent::Failed { error: (&error).into() }).await,
    }
}
