//! Where a simulated program writes to.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Machine;
use crate::api::guest::Frame;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of one frame.
const CHUNK: usize = 64 << 10;

#[derive(Clone)]
pub(super) enum Output {
    Null,
    /// A stream to the host.
    Host {
        channel: u8,
        frames: mpsc::Sender<Frame>,
        terminal: bool,
    },
    /// The guest's serial line, which is a terminal.
    Serial(Machine),
    /// The end of a file.
    File {
        machine: Machine,
        path: String,
    },
}

impl Output {
    /// Writes everything. A reader that is gone is `Unavailable`, a full disk `Exhausted`.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes: Bytes = bytes.into();
        match self {
            Self::Null => Ok(()),
            Self::File { machine, path } => machine.disks(|disks| disks.append(path, &bytes)),
            Self::Serial(machine) => {
                machine.print(&cooked(&bytes))?;
                // A line takes its time, and others theirs.
                tokio::task::yield_now().await;
                Ok(())
            }
            Self::Host { channel, frames, terminal } => {
                let bytes = if *terminal { cooked(&bytes) } else { bytes };
                for part in bytes.chunks(CHUNK) {
                    let frame = Frame::Data { channel: *channel, bytes: bytes.slice_ref(part) };
                    let gone = |_| Error::new(ErrorKind::Unavailable, "broken pipe");
                    frames.send(frame).await.map_err(gone)?;
                }
                Ok(())
            }
        }
    }
}

/// A terminal begins each line at its left.
fn cooked(bytes: &Bytes) -> Bytes {
    if !bytes.contains(&b'\n') {
        return bytes.clone();
    }
    let mut out = Vec::with_capacity(bytes.len() + 16);
    for byte in bytes {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out.into()
}
