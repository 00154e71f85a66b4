//! Speaks the agent's protocol, as the host.
//!
//! [`prove`] turns a raw connection into a proven one, [`begin`] sends the one call that it carries, [`call`] does both in
//! one flight. What follows on the stream are the frames of that call: the functions and sessions here read them, on the
//! spot or at the far end of a tunnel. Calls that ask and answer have a deadline over all of it; sessions last as long as
//! their owner keeps them.

mod exec;
mod forward;
mod prove;
mod request;
mod transfer;

#[cfg(test)]
mod tests;

pub use exec::{ExecEnd, ExecInput, ExecItem, ExecOutput, exec};
pub use forward::forward;
pub use prove::{begin, call, prove};
pub use request::{MAX_LISTED, grow, health, list, network, shutdown, stat, status};
pub use transfer::{Download, Moved, Upload};

pub use crate::api::guest::handshake::Peer;

use crate::error::{Effect, Error, ErrorKind};

/// What an agent sends that is not due.
fn unexpected() -> Error {
    Error::new(ErrorKind::Unavailable, "the agent sent something that was not due")
        .with_effect(Effect::Unknown)
        .with_reason("agent_unhealthy")
}

/// The agent hung up before it was done.
fn hung_up() -> Error {
    Error::new(ErrorKind::Unavailable, "the agent hung up before it was done")
        .with_effect(Effect::Unknown)
        .with_reason("agent_unhealthy")
}

/// Runs an exchange until a deadline that covers all of it.
async fn within<T>(deadline: tokio::time::Instant, work: impl Future<Output = crate::Result<T>>) -> crate::Result<T> {
    match tokio::time::timeout_at(deadline, work).await {
        Ok(result) => result,
        Err(_) => {
            Err(Error::new(ErrorKind::DeadlineExceeded, "the agent did not answer in time")
                .with_reason("agent_unhealthy"))
        }
    }
}
