//! What a simulated host can do and how long things take on it.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::behaviour::GuestBehaviour;
use crate::types::AddressPool;
use crate::types::ByteSize;

/// Limits, times and the habits of guests.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How much of everything there is.
    pub limits: Limits,
    /// How long things take.
    pub timings: Timings,
    /// How guests behave where nothing else was said of theirs.
    pub guests: GuestBehaviour,
}

/// How much of everything there is. Beyond it, calls fail with `Exhausted`, or with `InvalidArgument` where no host of
/// this kind could ever do it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Live monitors.
    pub max_vms: usize,
    /// Memory of all live monitors together.
    pub max_total_memory: ByteSize,
    /// Processors of one VM.
    pub max_vcpus: u32,
    /// Least memory of one VM.
    pub min_memory: ByteSize,
    /// Most memory of one VM.
    pub max_memory: ByteSize,
    /// Bytes of all images and volumes together, quarantined ones included.
    pub storage: ByteSize,
    /// Bytes of one volume.
    pub max_volume: ByteSize,
    /// Open connections into one guest.
    pub max_connections: usize,
    /// Connections from one guest that nobody accepted yet.
    pub max_unaccepted: usize,
    /// Whether a monitor can be started before its disks and network port exist.
    pub early_process: bool,
    /// What guests get their addresses from.
    pub pools: Vec<AddressPool>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_vms: 100_000,
            max_total_memory: ByteSize::gib(1 << 20),
            max_vcpus: 64,
            min_memory: ByteSize::mib(64),
            max_memory: ByteSize::gib(256),
            storage: ByteSize::gib(1 << 20),
            max_volume: ByteSize::gib(16 << 10),
            max_connections: 1024,
            max_unaccepted: 4,
            early_process: true,
            pools: vec![AddressPool { first: Ipv4Addr::new(10, 200, 0, 2), last: Ipv4Addr::new(10, 200, 255, 254) }],
        }
    }
}

/// How long things take, on tokio's clock. What is not about guests takes no time unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// Until a monitor's process is up.
    pub spawn: Duration,
    /// Until a monitor has started its guest (which then boots).
    pub start: Duration,
    /// Until a monitor is ended.
    pub kill: Duration,
    /// Until an image is taken in or gone.
    pub image: Duration,
    /// Until a volume is made, grown or gone.
    pub volume: Duration,
    /// Until a network port is there or gone.
    pub port: Duration,
    /// Until a door is there or gone.
    pub door: Duration,
    /// Until any question is answered.
    pub observe: Duration,
}

impl Timings {
    /// The same time for everything: gives every call a moment at which it can be interrupted.
    #[must_use]
    pub fn every(time: Duration) -> Self {
        Self { spawn: time, start: time, kill: time, image: time, volume: time, port: time, door: time, observe: time }
    }
}
