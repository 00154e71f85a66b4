//! From a raw connection to one on which a call was sent.

use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::{unexpected, within};
use crate::api::guest::handshake::{self, Peer};
use crate::api::guest::{FrameReader, FrameWriter, GuestCall, Purpose};
use crate::error::Result;
use crate::guest::GuestIoBox;
use crate::types::AgentSecret;

/// Plays the host's half of the hello. Its proof is still in the writer: what is sent next goes with it.
async fn hello(
    io: GuestIoBox,
    secret: &AgentSecret,
    purpose: Purpose,
) -> Result<(ReadHalf<GuestIoBox>, FrameWriter<WriteHalf<GuestIoBox>>, Peer)> {
    let (read, write) = tokio::io::split(io);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let peer = handshake::host(&mut reader, &mut writer, secret, purpose).await?;
    let (read, early) = reader.into_parts();
    // Nothing was asked yet: an agent that already talks is none of ours.
    if !early.is_empty() {
        return Err(unexpected());
    }
    Ok((read, writer, peer))
}

/// Plays the host's half of the hello. `Denied` with the reason `agent_untrusted` where the peer does not know the
/// secret; the connection is closed then. The deadline covers all of it.
pub async fn prove(
    io: GuestIoBox,
    secret: &AgentSecret,
    purpose: Purpose,
    deadline: Instant,
) -> Result<(GuestIoBox, Peer)> {
    within(deadline, async {
        let (read, mut writer, peer) = hello(io, secret, purpose).await?;
        writer.flush().await?;
        Ok((read.unsplit(writer.into_inner()), peer))
    })
    .await
}

/// Sends the call on a proven connection.
pub async fn begin(io: &mut GuestIoBox, call: &GuestCall, deadline: Instant) -> Result<()> {
    within(deadline, async { FrameWriter::new(io).message(call).await }).await
}

/// [`prove`] and [`begin`] in one: the call goes with the host's proof, in one write.
pub async fn call(
    io: GuestIoBox,
    secret: &AgentSecret,
    call: &GuestCall,
    deadline: Instant,
) -> Result<(GuestIoBox, Peer)> {
    within(deadline, async {
        let (read, mut writer, peer) = hello(io, secret, Purpose::Call).await?;
        writer.message(call).await?;
        Ok((read.unsplit(writer.into_inner()), peer))
    })
    .await
}
