//! What a supervisor says to the daemon.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::Failure;

/// SIGTERM and SIGINT end the service in an orderly way, and a second one at once; SIGHUP makes it read its
/// configuration again.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Ends when the service shall. A configuration that is bad changes nothing.
    pub async fn end(&mut self, reload: impl Fn() -> Result<(), Failure>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => match reload() {
                    Ok(()) => tracing::info!("the tokens were read again; everything else takes effect at the next start"),
                    Err(Failure::Error(error, _)) => {
                        tracing::error!(error = %error.chain(), "the new configuration is bad; the old one stays");
                    }
                    Err(Failure::Unread | Failure::Interrupted(_)) => {}
                },
            }
        }
        tracing::info!("ending; requests under way may finish, VMs stay as they are");
        // Streams are dropped with the process: what is durable is durable already.
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("ending at once");
            std::process::exit(1);
        });
    }
}
