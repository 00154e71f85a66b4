//! Where a simulated program reads from. Content streams: nothing is gathered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::api::guest::{ExecEvent, Frame};
use crate::memory::blob::Blob;

/// Bytes that one read brings at most.
const CHUNK: usize = 64 << 10;

pub(super) enum Input {
    Empty,
    /// What the host sends.
    Host(HostInput),
    /// A file as it was when it was opened.
    File {
        blob: Blob,
        at: u64,
    },
    /// One byte for ever.
    Zero,
    /// What looks random, and is the same every time.
    Noise(u64),
}

pub(super) struct HostInput {
    pub chunks: mpsc::UnboundedReceiver<Bytes>,
    /// What was read and given back.
    pub left: Bytes,
    /// Where it is said how much was taken, unless a terminal took it before.
    pub frames: Option<mpsc::Sender<Frame>>,
    /// How much was sent and not taken.
    pub outstanding: Arc<AtomicUsize>,
}

impl HostInput {
    async fn read(&mut self) -> Option<Bytes> {
        if !self.left.is_empty() {
            return Some(std::mem::take(&mut self.left));
        }
        let chunk = self.chunks.recv().await?;
        self.outstanding.fetch_sub(chunk.len(), Ordering::Relaxed);
        if let Some(frames) = &self.frames {
            let taken = Frame::control(&ExecEvent::StdinTaken { bytes: chunk.len() as u64 }).ok()?;
            // Where nobody hears it any more, the program is about to end.
            frames.send(taken).await.ok()?;
        }
        Some(chunk)
    }
}

impl Input {
    /// The next bytes, never empty; `None` at the end.
    pub async fn read(&mut self) -> Option<Bytes> {
        match self {
            Self::Empty => None,
            Self::Host(host) => host.read().await,
            Self::File { blob, at } => {
                let bytes = blob.read(*at, CHUNK);
                *at += bytes.len() as u64;
                // A large file shall not keep its neighbours waiting.
                tokio::task::yield_now().await;
                (!bytes.is_empty()).then(|| bytes.into())
            }
            Self::Zero => {
                tokio::task::yield_now().await;
                Some(Bytes::from_static(&[0; CHUNK]))
            }
            Self::Noise(state) => {
                tokio::task::yield_now().await;
                let mut bytes = Vec::with_capacity(CHUNK);
                while bytes.len() < CHUNK {
                    *state ^= *state << 13;
                    *state ^= *state >> 7;
                    *state ^= *state << 17;
                    bytes.extend_from_slice(&state.to_be_bytes());
                }
                Some(bytes.into())
            }
        }
    }

    /// Gives back what was read too much.
    pub fn give_back(&mut self, bytes: Bytes) {
        match self {
            Self::Host(host) => host.left = bytes,
            Self::File { at, .. } => *at -= bytes.len() as u64,
            Self::Empty | Self::Zero | Self::Noise(_) => {}
        }
    }

    /// The next line with its end; the last one may have none. `None` at the end. A line beyond 1 MiB is cut.
    pub async fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        while line.len() < 1 << 20 {
            let Some(mut chunk) = self.read().await else { break };
            match chunk.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    line.extend_from_slice(&chunk.split_to(end + 1));
                    if !chunk.is_empty() {
                        self.give_back(chunk);
                    }
                    return Some(line);
                }
                None => line.extend_from_slice(&chunk),
            }
        }
        (!line.is_empty()).then_some(line)
    }
}
