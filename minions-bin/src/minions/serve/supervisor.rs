//! What the daemon says to who has started it: that it is ready, that it ends, that it lives.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use minions_core::config::Environment;
use minions_core::error::{Error, Result};

/// Who wants to hear of it: systemd, by the socket that it names.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// By what the environment says. Nobody, where it says nothing.
    pub fn find(environment: &Environment) -> Result<Self> {
        let Some(name) = &environment.notify_socket else { return Ok(Self { socket: None, watchdog: None }) };
        let opened = address(name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // Whoever does not listen keeps nobody waiting.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        let bad = |error| Error::invalid("NOTIFY_SOCKET", format!("{name:?} is no socket")).with_source(error);
        Ok(Self { socket: Some(opened.map_err(bad)?), watchdog: environment.watchdog })
    }

    /// Says a word such as `READY=1`.
    pub fn say(&self, word: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(word.as_bytes(), address)
        {
            tracing::warn!(%error, word, "the supervisor does not hear");
        }
    }

    /// Says that it lives, for ever: from a task, so that a runtime that stands still is noticed.
    pub async fn live(&self) {
        let Some(every) = self.watchdog.filter(|_| self.socket.is_some()) else { return std::future::pending().await };
        let mut beat = tokio::time::interval(every / 2);
        loop {
            beat.tick().await;
            self.say("WATCHDOG=1");
        }
    }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None if name.starts_with('/') => SocketAddr::from_pathname(name),
        None => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Environment {
        Environment { notify_socket: Some(name.to_owned()), ..Environment::default() }
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_hears_what_is_said_by_its_path_or_its_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("minions-notify-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, name) in [(by_path, path.to_str().unwrap().to_owned()), (by_name, format!("@{name}"))] {
            let supervisor = Supervisor::find(&environment(&name)).unwrap();
            supervisor.say("READY=1");
            assert_eq!(heard(&socket), "READY=1");
            // Without a watchdog nobody is told that it lives.
            socket.set_nonblocking(true).unwrap();
            assert!(tokio::time::timeout(Duration::from_secs(60), supervisor.live()).await.is_err());
            assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let watched = Environment { watchdog: Some(Duration::from_secs(20)), ..environment(&name) };
            let supervisor = Supervisor::find(&watched).unwrap();
            assert!(tokio::time::timeout(Duration::from_secs(25), supervisor.live()).await.is_err());
            let beats = std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count();
            assert_eq!(beats, 3, "at once, and every half of its patience");
        }
    }

    #[test]
    fn bad_12_a_supervisor_that_cannot_be_is_refused_and_one_that_is_gone_is_in_nobodys_way() {
        for name in ["relative", "/a\0b"] {
            let error = Supervisor::find(&environment(name));
            assert!(error.is_err_and(|error| error.field() == Some("NOTIFY_SOCKET")), "{name}");
        }
        Supervisor::find(&environment("/nonexistent/notify")).unwrap().say("READY=1");
        Supervisor::find(&Environment::default()).unwrap().say("READY=1");
    }
}
