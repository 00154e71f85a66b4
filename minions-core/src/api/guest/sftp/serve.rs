//! A session on the frames of a call.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::files::GuestFiles;
use super::packet::{LENGTH, MAX_PACKET, length};
use super::session::Session;
use crate::api::guest::{CHANNEL_MAIN, Frame, FrameError, FrameReader, FrameWriter, Reply};
use crate::error::{Error, ErrorKind, Result};

/// Serves one session until its client ends it. Holds at most a packet and a frame of what came, and as much of answers:
/// a client that does not read is not read from.
pub async fn serve_sftp<F, R, W>(files: Arc<F>, reader: &mut FrameReader<R>, writer: &mut FrameWriter<W>) -> Result<()>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    writer.message(&Reply::Accepted).await?;
    let mut session = Session::new(files);
    let mut input = BytesMut::new();
    loop {
        match whole(&input) {
            Ok(true) => {}
            Ok(false) => match reader.next().await? {
                Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => {
                    input.extend_from_slice(&bytes);
                    continue;
                }
                Some(Frame::End { channel: CHANNEL_MAIN }) => {
                    return writer.send(&Frame::End { channel: CHANNEL_MAIN }).await;
                }
                Some(_) => return Err(FrameError::NotControl.into()),
                None => return Err(FrameError::Truncated.into()),
            },
            Err(error) => return broken(writer, error).await,
        }
        // What has come is worked off in one go, away from the runtime.
        let done = tokio::task::spawn_blocking(move || {
            let (answers, result) = work(&mut session, &mut input);
            (session, input, answers, result)
        });
        let answers;
        let result;
        (session, input, answers, result) =
            done.await.map_err(|error| Error::internal("work on files broke off").with_source(error))?;
        if !answers.is_empty() {
            writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes: answers.into() }).await?;
        }
        if let Err(error) = result {
            return broken(writer, error).await;
        }
    }
}

async fn broken<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, error: std::io::Error) -> Result<()> {
    let error = Error::new(ErrorKind::InvalidArgument, "the client does not speak SFTP").with_source(error);
    writer.message(&Reply::Failed { error: (&error).into() }).await
}

fn whole(input: &[u8]) -> std::io::Result<bool> {
    Ok(length(input)?.is_some_and(|length| input.len() >= LENGTH + length))
}

fn work<F: GuestFiles>(session: &mut Session<F>, input: &mut BytesMut) -> (Vec<u8>, std::io::Result<()>) {
    let mut answers = Vec::new();
    // At most a packet more than this.
    while answers.len() < MAX_PACKET {
        let length = match length(input) {
            Ok(Some(length)) if input.len() >= LENGTH + length => length,
            Ok(_) => break,
            Err(error) => return (answers, Err(error)),
        };
        input.advance(LENGTH);
        if let Err(error) = session.answer(&input.split_to(length), &mut answers) {
            return (answers, Err(error));
        }
    }
    (answers, Ok(()))
}
