//! Files for the clients of SSH.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::real::RealFiles;
use crate::api::guest::{FrameReader, FrameWriter, Reply, ScpRequest, serve_scp, serve_sftp};
use crate::error::Result;

/// How long a client that is told of its end may take to hang up.
const LINGER: Duration = Duration::from_secs(5);

pub(crate) async fn sftp<R, W>(mut reader: FrameReader<R>, mut writer: FrameWriter<W>) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let done = serve_sftp(Arc::new(RealFiles), &mut reader, &mut writer).await;
    linger(&mut reader).await;
    done
}

pub(crate) async fn scp<R, W>(request: ScpRequest, mut reader: FrameReader<R>, mut writer: FrameWriter<W>) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if let Err(error) = request.check() {
        return writer.message(&Reply::Failed { error: (&error).into() }).await;
    }
    let done = serve_scp(Arc::new(RealFiles), request, &mut reader, &mut writer).await;
    linger(&mut reader).await;
    done
}

/// What is still on its way is read away, so that closing does not cut off what the client is told.
async fn linger<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) {
    let rest = async { while let Ok(Some(_)) = reader.next().await {} };
    let _ = tokio::time::timeout(LINGER, rest).await;
}
