//! `CONNECT port`, and a line that says OK.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::guest::door::{self, Line};

/// How long the monitor and the guest's kernel may take to connect us. A guest that is too busy for this long does
/// not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest line that says OK: `OK 4294967295` and its end.
const MAX_LINE: usize = 16;

/// Dials a port in a guest. A refusal is a connection that closes without a line.
pub(super) async fn dial(socket: &Path, port: u32) -> io::Result<UnixStream> {
    let handshake = async {
        let mut stream = crate::host::socket::connect(socket).await?;
        stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
        let mut line = Vec::with_capacity(MAX_LINE);
        // Byte by byte: what follows the line is the guest's, and belongs to whoever reads next.
        while line.last() != Some(&b'\n') {
            if line.len() == MAX_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            line.push(stream.read_u8().await?);
        }
        // The number behind OK means nothing.
        if line.starts_with(b"OK ") { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
    };
    tokio::time::timeout(PATIENCE, handshake).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A connected socket as doors count them.
pub(super) fn line(stream: UnixStream) -> io::Result<Line> {
    door::line(stream.into_std()?.into())
}
