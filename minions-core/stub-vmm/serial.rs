//! The serial line: a ring, or a socket on which the guest gives back what is typed.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

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

/// A serial line of Cloud Hypervisor's kind: what is printed waits while nobody listens, and there is one listener at a time.
#[derive(Default)]
pub struct Ring(Mutex<Listened>);

#[derive(Default)]
struct Listened {
    waiting: String,
    listener: Option<(mpsc::UnboundedSender<String>, JoinHandle<()>)>,
}

impl Ring {
    pub fn print(&self, text: &str) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = line.listener.as_ref().is_some_and(|(prints, _)| prints.send(text.to_owned()).is_ok());
        if !sent {
            line.waiting.push_str(text);
        }
    }

    fn listen(&self, socket: UnixStream) {
        let (prints, printed) = mpsc::unbounded_channel();
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing can be lost before its other end is given away.
        drop(prints.send(std::mem::take(&mut line.waiting)));
        line.listener = Some((prints, tokio::spawn(carry(socket, printed))));
    }

    /// Everything that was printed is said then.
    pub async fn close(&self) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).listener.take();
        if let Some((prints, carrying)) = last {
            drop(prints);
            drop(carrying.await);
        }
    }
}

/// Lets the one who comes last listen.
pub async fn listen(listener: UnixListener, ring: Arc<Ring>) {
    while let Ok((socket, _)) = listener.accept().await {
        ring.listen(socket);
    }
}
