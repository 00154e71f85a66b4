//! One conversation on a control socket: lines, and the files that come with them.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

pub struct Talk {
    pub stream: UnixStream,
    pub heard: Vec<u8>,
    /// The last file that came.
    pub given: Option<OwnedFd>,
}

impl Talk {
    pub async fn say(&mut self, value: &Value) -> Option<()> {
        self.stream.write_all(format!("{value}\r\n").as_bytes()).await.ok()
    }

    /// The next command; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap_or_default());
            }
            let mut piece = [0; 4096];
            let (stream, given) = (&self.stream, &mut self.given);
            let read = || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut to = [IoSliceMut::new(&mut piece)];
                let count = recvmsg(stream, &mut to, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(files) = message {
                        *given = files.last();
                    }
                }
                Ok(count)
            };
            match stream.async_io(Interest::READABLE, read).await {
                Ok(count @ 1..) => self.heard.extend_from_slice(&piece[..count]),
                _ => return None,
            }
        }
    }
}
