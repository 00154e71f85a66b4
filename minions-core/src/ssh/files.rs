//! Files in the guest, for `sftp` and `scp` of both kinds.
//!
//! The guest's agent speaks their protocols; the gateway carries bytes, and understands none of them. No program of the
//! guest takes part.

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::Shared;
use super::login::Login;
use super::program::{NOT_RUN, STDERR, tell};
use crate::api::guest::{CHANNEL_MAIN, Frame, FrameReader, FrameWriter, GuestCall, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::GuestIoBox;
use crate::service::VmRef;

/// How long the agent has to take the call.
const BEGIN: std::time::Duration = std::time::Duration::from_secs(10);

/// What a copy ends with that has told the client of its failures already.
const NOT_ALL: u32 = 1;

/// Carries one session between client and agent, until either ends it.
pub(super) async fn run(shared: &Shared, login: &Login, call: GuestCall, channel: Channel<Msg>, handle: Handle) {
    let id = channel.id();
    let (read, write) = channel.split();
    let begun = tokio::time::timeout(BEGIN, begin(shared, login, &call)).await;
    let ended = match begun {
        Ok(Ok((reader, writer))) => tokio::select! {
            ended = carry(reader, write.make_writer()) => ended,
            () = feed(read, writer) => return tracing::debug!("a client closed a channel"),
        },
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::new(ErrorKind::DeadlineExceeded, "the VM's agent did not answer in time")),
    };
    let status = match ended {
        Ok(status) => status,
        Err(error) => {
            tell(write.make_writer_ext(Some(STDERR)), &error).await;
            NOT_RUN
        }
    };
    // Each of them fails only where the connection is gone.
    let said = handle.exit_status_request(id, status).await;
    if said.is_err() || write.eof().await.is_err() || write.close().await.is_err() {
        tracing::debug!("a client left before it was told how it ended");
    }
}

type Ends = (FrameReader<ReadHalf<GuestIoBox>>, FrameWriter<WriteHalf<GuestIoBox>>);

async fn begin(shared: &Shared, login: &Login, call: &GuestCall) -> Result<Ends> {
    let io = shared.plane.open(&login.caller, &VmRef::Id(login.vm.id), call).await?;
    let (read, write) = tokio::io::split(io);
    let mut reader = FrameReader::new(read);
    match reader.message::<Reply>().await?.ok() {
        Ok(Reply::Accepted) => Ok((reader, FrameWriter::new(write))),
        Ok(_) => Err(undue()),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let message = "this VM's agent is too old for sftp and scp; restart the VM, which gives it a new one";
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        Err(error) => Err(error),
    }
}

fn undue() -> Error {
    Error::new(ErrorKind::Unavailable, "the agent sent something that was not due")
}

/// Brings the client what the agent sends, a frame at a time; waits where it does not read, which holds up this channel
/// alone.
async fn carry(mut reader: FrameReader<ReadHalf<GuestIoBox>>, mut stdout: impl AsyncWrite + Unpin) -> Result<u32> {
    let gone = |error: std::io::Error| Error::new(ErrorKind::Unavailable, "the client is gone").with_source(error);
    let status = loop {
        match reader.next().await? {
            Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => stdout.write_all(&bytes).await.map_err(gone)?,
            Some(Frame::End { channel: CHANNEL_MAIN }) => break 0,
            Some(frame @ Frame::Control(_)) => {
                let Err(error) = frame.message::<Reply>()?.ok() else { return Err(undue()) };
                tracing::debug!(error = %error.chain(), "files were not carried whole");
                break NOT_ALL;
            }
            Some(Frame::Data { .. } | Frame::End { .. }) => return Err(undue()),
            None => return Err(Error::new(ErrorKind::Unavailable, "the agent hung up")),
        }
    };
    stdout.flush().await.map_err(gone)?;
    Ok(status)
}

/// Brings the agent what the client sends, until the channel is closed.
async fn feed(mut read: ChannelReadHalf, mut writer: FrameWriter<WriteHalf<GuestIoBox>>) {
    while let Some(message) = read.wait().await {
        let sent = match message {
            ChannelMsg::Data { data } => writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes: data }).await,
            ChannelMsg::Eof => writer.send(&Frame::End { channel: CHANNEL_MAIN }).await,
            ChannelMsg::Close => return,
            _ => Ok(()),
        };
        if sent.is_err() {
            // The session is over; what is said of that comes from the other side.
            std::future::pending::<()>().await;
        }
    }
}
