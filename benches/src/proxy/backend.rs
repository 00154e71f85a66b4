//! What runs in the VM: a web server that does as little as it can, and a sink and a source of bytes.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::child::end_with_parent;
use crate::pin;

/// Bytes of the large answer.
pub const BIG: usize = 64 << 20;
const PIECE: usize = 64 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Pieces of zeros.
pub struct Pieces(usize);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let size = self.0.min(PIECE);
        self.0 -= size;
        let piece = ZEROS.get(..size).filter(|piece| !piece.is_empty());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64)
    }
}

/// Runs until its parent ends it. Says `ready WEB BYTES` with its ports.
pub async fn serve() -> Result<()> {
    end_with_parent();
    pin::this_thread(pin::OTHERS);
    let web = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let bytes = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("ready {} {}", web.local_addr()?.port(), bytes.local_addr()?.port());
    loop {
        tokio::select! {
            taken = web.accept() => {
                let stream = taken?.0;
                stream.set_nodelay(true)?;
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .with_upgrades();
                tokio::spawn(serving);
            }
            taken = bytes.accept() => {
                tokio::spawn(carry(taken?.0));
            }
        }
    }
}

async fn answer(
    mut request: Request<Incoming>,
) -> std::result::Result<Response<http_body_util::Either<http_body_util::Full<Bytes>, Pieces>>, Infallible> {
    use http_body_util::{Either, Full};
    let mut response = match request.uri().path() {
        "/big" => Response::new(Either::Right(Pieces(BIG))),
        _ => Response::new(Either::Left(Full::new(Bytes::from_static(b"hello from vm\n")))),
    };
    if request.headers().contains_key(UPGRADE) {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.body_mut() = Either::Left(Full::default());
        response.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, hyper::header::HeaderValue::from_static("websocket"));
        // To the one key that the load sends.
        let accept = hyper::header::HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        response.headers_mut().insert(hyper::header::SEC_WEBSOCKET_ACCEPT, accept);
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgraded.await {
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
                // Ends with its connection.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        });
    }
    Ok(response)
}

/// `w` and a length: takes so many bytes and says that it has them. `r` and a length: sends so many.
async fn carry(mut stream: TcpStream) -> Result<()> {
    let what = stream.read_u8().await?;
    let mut left = stream.read_u64().await?;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let size = PIECE.min(usize::try_from(left)?);
        let some = piece.get_mut(..size).ok_or("no such piece")?;
        let moved =
            if what == b'w' { stream.read(some).await? } else { stream.write_all(some).await.map(|()| size)? };
        if moved == 0 {
            return Err("broke off".into());
        }
        left -= u64::try_from(moved)?;
    }
    stream.write_u8(0).await?;
    stream.shutdown().await?;
    Ok(())
}
