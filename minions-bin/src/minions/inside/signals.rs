//! Signals that this process was sent.

use std::io;

use minions_core::api::guest::Signal;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// Those that end a program; from the moment of listening on they end nothing by themselves.
pub struct Signals {
    interrupt: Listener,
    terminate: Listener,
    hangup: Listener,
    quit: Listener,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal(1),
            _ = self.quit.recv() => Signal(3),
        }
    }
}
