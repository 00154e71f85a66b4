//! What the guest's kernel and files tell about it.

mod network;
mod proc;

use crate::agent::error::blocking;
use crate::api::guest::{NetworkStatus, Status};
use crate::error::Result;

/// Milliseconds since the kernel began.
pub(super) fn uptime_ms() -> u64 {
    micros_since_boot() / 1000
}

/// Microseconds since the kernel began.
pub(super) fn micros_since_boot() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

/// Everything at a glance.
pub(super) async fn status() -> Result<Status> {
    blocking(|| Ok(proc::status(network::network()))).await
}

/// Interfaces, the way out, resolvers.
pub(super) async fn network() -> Result<NetworkStatus> {
    blocking(|| Ok(network::network())).await
}
