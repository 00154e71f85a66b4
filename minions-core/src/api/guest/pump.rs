//! Carries a byte stream over frames, both ways.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{CHANNEL_MAIN, Frame, FrameError};
use super::stream::{FrameReader, FrameWriter};
use crate::error::{Effect, Error, ErrorKind, Result};

/// How much one read of the local side may bring.
const PIECE: usize = 64 * 1024;

/// Carries bytes between a local stream and the frames of channel 0 until both directions have ended. An end on one side
/// becomes an end on the other, and the other direction goes on. Returns how many bytes went into the frames and came
/// out of them. A side that breaks ends both.
pub async fn pump<FR, FW, LR, LW>(
    mut frames_in: FrameReader<FR>,
    mut frames_out: FrameWriter<FW>,
    mut local_read: LR,
    mut local_write: LW,
) -> Result<(u64, u64)>
where
    FR: AsyncRead + Unpin,
    FW: AsyncWrite + Unpin,
    LR: AsyncRead + Unpin,
    LW: AsyncWrite + Unpin,
{
    let out = async {
        let mut sent = 0;
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            let mut room = bytes::BufMut::limit(&mut buffer, PIECE);
            if local_read.read_buf(&mut room).await.map_err(local)? == 0 {
                frames_out.send(&Frame::End { channel: CHANNEL_MAIN }).await?;
                return Ok::<u64, Error>(sent);
            }
            let bytes: Bytes = buffer.split().freeze();
            sent += bytes.len() as u64;
            frames_out.send(&Frame::Data { channel: CHANNEL_MAIN, bytes }).await?;
        }
    };
    let back = async {
        let mut received = 0;
        loop {
            match frames_in.next().await? {
                Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => {
                    local_write.write_all(&bytes).await.map_err(local)?;
                    received += bytes.len() as u64;
                }
                Some(Frame::End { channel: CHANNEL_MAIN }) => {
                    local_write.shutdown().await.map_err(local)?;
                    return Ok(received);
                }
                Some(_) => return Err(FrameError::NotControl.into()),
                None => return Err(FrameError::Truncated.into()),
            }
        }
    };
    tokio::try_join!(out, back)
}

fn local(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the local side of a forward broke")
        .with_effect(Effect::Unknown)
        .with_source(error)
}
