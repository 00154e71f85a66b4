//! What a monitor tells in its pipe: JSON objects, with an empty line behind each.

use std::io;

use tokio::net::unix::pipe;

/// The longest event. What is longer was cut off where the pipe was full, and is left out.
const MAX_EVENT: usize = 4 << 10;

/// The pipe, and the beginning of an event that has not come whole yet.
#[derive(Debug)]
pub(super) struct Events {
    pipe: pipe::Receiver,
    heard: Vec<u8>,
}

#[derive(serde::Deserialize)]
struct Event<'a> {
    source: &'a str,
    event: &'a str,
}

impl Events {
    pub fn over(pipe: pipe::Receiver) -> Self {
        Self { pipe, heard: Vec::new() }
    }

    /// Leaves out what was told until now.
    pub fn forget(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        loop {
            // Of the kernel itself: the runtime may not know yet that there is something.
            match rustix::io::read(&self.pipe, &mut piece) {
                Ok(0) | Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Until the guest starts itself anew. Cancel-safe. A pipe that ends tells nothing any more.
    pub async fn guest_restarts(&mut self) {
        loop {
            while let Some(end) = self.heard.windows(2).position(|pair| pair == b"\n\n") {
                let restarts = restarts(&self.heard[..end]);
                self.heard.drain(..end + 2);
                if restarts {
                    return;
                }
            }
            if self.heard.len() > MAX_EVENT {
                self.heard.clear();
            }
            let mut piece = [0; 4096];
            let read = match self.pipe.readable().await {
                Ok(()) => self.pipe.try_read(&mut piece),
                Err(error) => Err(error),
            };
            match read {
                Ok(count @ 1..) => self.heard.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => std::future::pending().await,
            }
        }
    }
}

fn restarts(text: &[u8]) -> bool {
    serde_json::from_slice(text).is_ok_and(|Event { source, event }| source == "vm" && event == "rebooting")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::{CWD, Mode, mkfifoat};
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn event(name: &str) -> String {
        format!(
            "{{\n  \"timestamp\": {{ \"secs\": 0 }},\n  \"source\": \"vm\",\n  \"event\": \"{name}\",\n  \"properties\": null\n}}\n\n"
        )
    }

    #[tokio::test]
    async fn a_restart_is_heard_in_pieces_and_behind_what_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let mut to = pipe::OpenOptions::new().read_write(true).open_sender(&path).unwrap();
        to.write_all(event("rebooting").as_bytes()).await.unwrap();
        let mut events = Events::over(pipe::OpenOptions::new().open_receiver(&path).unwrap());
        events.forget().unwrap();
        let long = "x".repeat(3 * MAX_EVENT);
        for text in [&event("booted"), "{ \"source\": \"vm\", \"event\": \"rebo", "\n\n", &long, "\n\n"] {
            to.write_all(text.as_bytes()).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(20), events.guest_restarts()).await;
            assert!(early.is_err(), "nothing restarts yet: {text:.30}");
        }
        let last = event("rebooting");
        let (one, other) = last.split_at(30);
        to.write_all(one.as_bytes()).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), events.guest_restarts()).await;
        assert!(early.is_err(), "half an event is none");
        to.write_all(other.as_bytes()).await.unwrap();
        events.guest_restarts().await;
    }
}
