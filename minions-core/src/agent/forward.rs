//! A TCP connection to the guest's own loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::error::about;
use crate::api::guest::{FrameReader, FrameWriter, Reply, pump};
use crate::error::Result;

const CONNECT: Duration = Duration::from_secs(5);

pub(super) async fn run<R, W>(port: u16, reader: FrameReader<R>, mut writer: FrameWriter<W>) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
    let stream = match connected.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(stream) => stream,
        Err(error) => {
            let error = about(format_args!("nothing answers on port {port} of the guest"), error);
            return writer.message(&Reply::Failed { error: (&error).into() }).await;
        }
    };
    // Small writes of the far end are not to wait for each other.
    let _ = stream.set_nodelay(true);
    writer.message(&Reply::Accepted).await?;
    let (read, write) = stream.into_split();
    pump(reader, writer, read, write).await.map(|_| ())
}
