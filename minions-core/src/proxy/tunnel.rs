//! What a connection becomes after a VM has agreed: bytes both ways.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::accept::Held;
use super::caps::Permit;

/// How often a tunnel is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Carries bytes until both sides have ended, nothing moved for too long, or the visitor may no longer be here.
pub(super) async fn carry(
    client: OnUpgrade,
    vm: OnUpgrade,
    idle: Duration,
    may: impl Fn() -> bool,
    _kept: (Held, Permit),
) {
    let Ok((client, vm)) = tokio::try_join!(client, vm) else { return };
    let moved = Arc::new(AtomicU64::new(0));
    let mut client = Counted { io: TokioIo::new(client), moved: moved.clone() };
    let mut vm = Counted { io: TokioIo::new(vm), moved: moved.clone() };
    let copy = tokio::io::copy_bidirectional(&mut client, &mut vm);
    tokio::pin!(copy);
    let (mut seen, mut still) = (0, tokio::time::Instant::now());
    loop {
        tokio::select! {
            ended = copy.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a tunnel broke");
                }
                return;
            }
            () = tokio::time::sleep(LOOK) => {
                let now = moved.load(Ordering::Relaxed);
                if now != seen {
                    (seen, still) = (now, tokio::time::Instant::now());
                }
                if still.elapsed() >= idle || !may() {
                    return;
                }
            }
        }
    }
}

/// Counts what is read.
struct Counted<S> {
    io: S,
    moved: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, to);
        self.moved.fetch_add((to.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
