//! The serial line: a ring, or a socket on which the guest gives back what is typed.

use std::os::fd::OwnedFd;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

pub enum Serial {
    /// What nobody has read yet.
    Ring(String),
    Socket(mpsc::UnboundedSender<String>),
}

impl Default for Serial {
    fn default() -> Self {
        Self::Ring(String::new())
    }
}

impl Serial {
    /// Ends in a socket from now on.
    pub fn over(socket: OwnedFd) -> Result<Self, String> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        let told = |error: std::io::Error| error.to_string();
        socket.set_nonblocking(true).map_err(told)?;
        let (prints, printed) = mpsc::unbounded_channel();
        tokio::spawn(carry(UnixStream::from_std(socket).map_err(told)?, printed));
        Ok(Self::Socket(prints))
    }

    pub fn print(&mut self, text: &str) {
        match self {
            Self::Ring(log) => log.push_str(text),
            // Said to nobody where nobody is there any more, as with the real one.
            Self::Socket(prints) => drop(prints.send(text.to_owned())),
        }
    }

    pub fn filename(&self) -> &'static str {
        match self {
            Self::Ring(_) => "ringbuf",
            Self::Socket(prints) if prints.is_closed() => "disconnected:fd:console",
            Self::Socket(_) => "unix:",
        }
    }
}

/// Until the line ends elsewhere, or nobody is there.
async fn carry(mut socket: UnixStream, mut printed: mpsc::UnboundedReceiver<String>) {
    let mut typed = vec![0; 4096];
    loop {
        let text = tokio::select! {
            biased;
            text = printed.recv() => match text {
                Some(text) => text.into_bytes(),
                None => return,
            },
            read = socket.read(&mut typed) => match read {
                Ok(count @ 1..) => typed[..count].to_vec(),
                _ => return,
            },
        };
        if socket.write_all(&text).await.is_err() {
            return;
        }
    }
}
