//! A TCP connection inside a guest, at the end of a stream.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{unexpected, within};
use crate::api::guest::{FrameReader, FrameWriter, Reply, pump};
use crate::error::Result;
use crate::guest::GuestIoBox;

/// After `GuestCall::Forward`: waits until the guest is connected, then carries bytes both ways until both sides have
/// ended or one broke. Returns how many went in and came out. The deadline is for the connection alone.
pub async fn forward(
    io: GuestIoBox,
    local_read: impl AsyncRead + Unpin,
    local_write: impl AsyncWrite + Unpin,
    connected_by: Instant,
) -> Result<(u64, u64)> {
    let (read, write) = tokio::io::split(io);
    let mut reader = FrameReader::new(read);
    match within(connected_by, async { reader.message::<Reply>().await?.ok() }).await? {
        Reply::Accepted => {}
        _ => return Err(unexpected()),
    }
    pump(reader, FrameWriter::new(write), local_read, local_write).await
}
