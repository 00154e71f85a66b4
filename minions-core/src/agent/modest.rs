//! Writes that a guest short of memory can make.
//!
//! For each write to a VSOCK the kernel takes one piece of contiguous memory, up to 64 KiB. In a guest whose memory is
//! full of cached files there may be none of that size, and then the write fails, for nobody is made to give memory
//! back for so large a piece. For up to 32 KiB somebody is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const MOST: usize = 32 << 10;
const LEAST: usize = 4 << 10;

/// Writes in pieces, and in smaller ones once there was no memory.
#[derive(Debug)]
pub(super) struct Modest<S> {
    inner: S,
    most: usize,
}

impl<S> Modest<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, most: MOST }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Modest<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Modest<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let piece = &bytes[..bytes.len().min(self.most)];
            match Pin::new(&mut self.inner).poll_write(cx, piece) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::OutOfMemory && self.most > LEAST => {
                    self.most /= 2;
                }
                done => return done,
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A kernel with so much memory in one piece.
    struct Kernel {
        piece: usize,
        got: Vec<u8>,
        largest: usize,
    }

    impl AsyncWrite for Kernel {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.largest = self.largest.max(bytes.len());
            if bytes.len() > self.piece {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
            self.got.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_goes_in_pieces_that_there_is_memory_for_or_fails_where_there_is_none() {
        let bytes: Vec<u8> = (0..300_000u32).map(|number| number.to_le_bytes()[0]).collect();
        for piece in [1 << 20, 20_000, LEAST] {
            let mut modest = Modest::new(Kernel { piece, got: Vec::new(), largest: 0 });
            modest.write_all(&bytes).await.unwrap();
            assert!(modest.inner.got == bytes && modest.inner.largest == MOST, "{piece}");
        }
        let mut modest = Modest::new(Kernel { piece: LEAST - 1, got: Vec::new(), largest: 0 });
        assert_eq!(modest.write_all(&bytes).await.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
