//! A TCP port of the guest, for a client's `-L`, `-W` and `ProxyJump`.

use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};

use super::Shared;
use super::login::Login;
use crate::api::guest::{FrameReader, FrameWriter, GuestCall, Reply, pump};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::GuestIoBox;
use crate::service::VmRef;

/// How long the guest has to connect.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);

/// Whether a client means the VM itself: nothing else is dialled from here.
pub(super) fn is_itself(host: &str, login: &Login) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    ["localhost", "127.0.0.1", "::1", "0.0.0.0", "::"].contains(&host.as_str()) || host == login.vm.name.as_str()
}

pub(super) async fn run(shared: &Shared, login: &Login, port: u16, channel: Channel<Msg>, reply: ChannelOpenHandle) {
    match tokio::time::timeout(CONNECT, connect(shared, login, port)).await {
        Ok(Ok((reader, writer))) => {
            reply.accept().await;
            let (read, write) = tokio::io::split(channel.into_stream());
            if let Err(error) = pump(reader, writer, read, write).await {
                tracing::debug!(error = %error.chain(), port, "a forward ended badly");
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(error = %error.chain(), port, "a forward was not made");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
        Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
    }
}

type Ends = (FrameReader<tokio::io::ReadHalf<GuestIoBox>>, FrameWriter<tokio::io::WriteHalf<GuestIoBox>>);

async fn connect(shared: &Shared, login: &Login, port: u16) -> Result<Ends> {
    let io = shared.plane.open(&login.caller, &VmRef::Id(login.vm.id), &GuestCall::Forward { port }).await?;
    let (read, write) = tokio::io::split(io);
    let mut reader = FrameReader::new(read);
    match reader.message::<Reply>().await?.ok()? {
        Reply::Accepted => Ok((reader, FrameWriter::new(write))),
        _ => Err(Error::new(ErrorKind::Unavailable, "the agent sent something that was not due")),
    }
}
