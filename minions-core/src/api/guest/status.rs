//! What a guest says of itself: for people and for graphs.

use super::clamp::{Clamp, clamp_line, clamp_list};

/// Most items of one list that are kept.
const MAX_ITEMS: usize = 64;
/// 2^60: more than any machine has of anything, and far from overflow.
const MANY: u64 = 1 << 60;

/// The agent is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Health {
    /// Milliseconds since the guest's kernel began.
    pub uptime_ms: u64,
    /// The release of the agent's binary.
    #[serde(default)]
    pub agent_version: String,
    /// Connections it serves now, this one included.
    #[serde(default)]
    pub connections: u32,
}

/// Everything at a glance. Numbers are whole: no unit hides in a fraction.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// Its host name.
    pub hostname: String,
    /// Its operating system, as `/etc/os-release` names it.
    #[serde(default)]
    pub os: String,
    /// Its kernel's release.
    #[serde(default)]
    pub kernel: String,
    /// Milliseconds since its kernel began.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Processors.
    #[serde(default)]
    pub cpu: CpuStatus,
    /// Memory.
    #[serde(default)]
    pub memory: MemoryStatus,
    /// Load.
    #[serde(default)]
    pub load: Load,
    /// File systems on disks.
    #[serde(default)]
    pub disks: Vec<DiskStatus>,
    /// Interfaces, routes, resolvers.
    #[serde(default)]
    pub network: NetworkStatus,
    /// TCP ports that something listens on.
    #[serde(default)]
    pub listening: Vec<Listener>,
    /// Processes.
    #[serde(default)]
    pub processes: u32,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CpuStatus {
    /// How many are online.
    pub count: u32,
    /// Milliseconds spent working since boot, over all of them.
    pub busy_ms: u64,
    /// Milliseconds spent idle since boot, over all of them.
    pub idle_ms: u64,
    /// Milliseconds that the host took away, over all of them.
    #[serde(default)]
    pub steal_ms: u64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemoryStatus {
    /// All of it.
    pub total: u64,
    /// What could be had without swapping.
    pub available: u64,
}

/// Load averages in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Load {
    /// Of one minute.
    pub one: u64,
    /// Of five.
    pub five: u64,
    /// Of fifteen.
    pub fifteen: u64,
}

/// A file system, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DiskStatus {
    /// Where it is mounted.
    pub mount: String,
    /// What from.
    pub device: String,
    /// Its kind.
    #[serde(default)]
    pub kind: String,
    /// All of it.
    pub total: u64,
    /// What may still be written.
    pub available: u64,
}

/// Network.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NetworkStatus {
    /// Interfaces.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// The default route's gateway.
    #[serde(default)]
    pub gateway: Option<std::net::Ipv4Addr>,
    /// Resolvers.
    #[serde(default)]
    pub dns: Vec<std::net::IpAddr>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Its link address.
    #[serde(default)]
    pub mac: String,
    /// Its addresses with their prefixes.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Bytes received.
    #[serde(default)]
    pub received: u64,
    /// Bytes sent.
    #[serde(default)]
    pub sent: u64,
}

/// A TCP port that something listens on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listener {
    /// Its number.
    pub port: u16,
    /// On which address.
    pub address: std::net::IpAddr,
}

impl Clamp for Health {
    fn clamp(mut self) -> Self {
        self.uptime_ms = self.uptime_ms.min(MANY);
        clamp_line(&mut self.agent_version);
        self
    }
}

impl Clamp for Status {
    fn clamp(mut self) -> Self {
        for text in [&mut self.hostname, &mut self.os, &mut self.kernel] {
            clamp_line(text);
        }
        self.cpu.count = self.cpu.count.min(4096);
        self.processes = self.processes.min(1 << 22);
        for number in [
            &mut self.uptime_ms,
            &mut self.cpu.busy_ms,
            &mut self.cpu.idle_ms,
            &mut self.cpu.steal_ms,
            &mut self.memory.total,
            &mut self.load.one,
            &mut self.load.five,
            &mut self.load.fifteen,
        ] {
            *number = (*number).min(MANY);
        }
        self.memory.available = self.memory.available.min(self.memory.total);
        clamp_list(&mut self.disks, MAX_ITEMS);
        self.disks = self.disks.into_iter().map(Clamp::clamp).collect();
        clamp_list(&mut self.listening, MAX_ITEMS);
        self.network = self.network.clamp();
        self
    }
}

impl Clamp for DiskStatus {
    fn clamp(mut self) -> Self {
        for text in [&mut self.mount, &mut self.device, &mut self.kind] {
            clamp_line(text);
        }
        self.total = self.total.min(MANY);
        self.available = self.available.min(self.total);
        self
    }
}

impl Clamp for NetworkStatus {
    fn clamp(mut self) -> Self {
        clamp_list(&mut self.interfaces, MAX_ITEMS);
        clamp_list(&mut self.dns, MAX_ITEMS);
        for interface in &mut self.interfaces {
            clamp_line(&mut interface.name);
            clamp_line(&mut interface.mac);
            clamp_list(&mut interface.addresses, MAX_ITEMS);
            interface.addresses.iter_mut().for_each(clamp_line);
            interface.received = interface.received.min(MANY);
            interface.sent = interface.sent.min(MANY);
        }
        self
    }
}
