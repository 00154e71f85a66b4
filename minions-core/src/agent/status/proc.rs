//! `/proc` and what else a Linux tells. What cannot be read is left empty: a status with gaps is better than none.

use std::fs::read_to_string;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::api::guest::{CpuStatus, DiskStatus, Listener, Load, MemoryStatus, NetworkStatus, Status};

/// How many milliseconds a tick of `/proc/stat` has: it counts in hundredths of a second everywhere.
const TICK_MS: u64 = 10;

pub(super) fn status(network: NetworkStatus) -> Status {
    let read = |path: &str| read_to_string(path).unwrap_or_default();
    let uname = rustix::system::uname();
    let (load, processes) = load(&read("/proc/loadavg"));
    let mut listening = listeners(&read("/proc/net/tcp"));
    listening.extend(listeners(&read("/proc/net/tcp6")));
    listening.sort_by_key(|listener| (listener.port, listener.address));
    listening.dedup();
    Status {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        os: os_name(&read("/etc/os-release")),
        kernel: uname.release().to_string_lossy().into_owned(),
        uptime_ms: super::uptime_ms(),
        cpu: cpu(&read("/proc/stat")),
        memory: memory(&read("/proc/meminfo")),
        load,
        disks: disks(&read("/proc/self/mounts")),
        network,
        listening,
        processes,
    }
}

fn os_name(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

fn cpu(stat: &str) -> CpuStatus {
    let mut status = CpuStatus::default();
    for line in stat.lines() {
        let mut fields = line.split_ascii_whitespace();
        match fields.next() {
            Some("cpu") => {
                let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
                let at = |index: usize| ticks.get(index).copied().unwrap_or(0) * TICK_MS;
                // user nice system idle iowait irq softirq steal
                status.busy_ms = at(0) + at(1) + at(2) + at(5) + at(6);
                status.idle_ms = at(3) + at(4);
                status.steal_ms = at(7);
            }
            Some(name) if name.starts_with("cpu") => status.count += 1,
            _ => break,
        }
    }
    status
}

fn memory(meminfo: &str) -> MemoryStatus {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    MemoryStatus { total: kib("MemTotal") * 1024, available: kib("MemAvailable") * 1024 }
}

/// The averages in thousandths, and the number of processes and threads.
fn load(loadavg: &str) -> (Load, u32) {
    let mut fields = loadavg.split_ascii_whitespace();
    let mut thousandths = || {
        let (whole, part) = fields.next().and_then(|field| field.split_once('.')).unwrap_or(("0", "0"));
        whole.parse::<u64>().unwrap_or(0) * 1000 + part.parse::<u64>().unwrap_or(0) * 10
    };
    let load = Load { one: thousandths(), five: thousandths(), fifteen: thousandths() };
    let processes = fields.next().and_then(|field| field.split_once('/')?.1.parse().ok()).unwrap_or(0);
    (load, processes)
}

fn disks(mounts: &str) -> Vec<DiskStatus> {
    let mut disks: Vec<DiskStatus> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(device), Some(mount), Some(kind)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if !device.starts_with("/dev/") || disks.iter().any(|disk| disk.device == device) {
            continue;
        }
        let Ok(space) = rustix::fs::statvfs(mount) else { continue };
        disks.push(DiskStatus {
            mount: mount.to_owned(),
            device: device.to_owned(),
            kind: kind.to_owned(),
            total: space.f_blocks.saturating_mul(space.f_frsize),
            available: space.f_bavail.saturating_mul(space.f_frsize),
        });
    }
    disks
}

/// Lines of `/proc/net/tcp` and `tcp6` in the state LISTEN.
fn listeners(table: &str) -> Vec<Listener> {
    const LISTEN: &str = "0A";
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        (fields.nth(1)? == LISTEN).then_some(())?;
        let (address, port) = local.split_once(':')?;
        Some(Listener { port: u16::from_str_radix(port, 16).ok()?, address: address_of(address)? })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// The kernel prints the words of an address as the machine holds them.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for word in hex.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 0 0\n   1: 0100007F:0050 0100007F:1111 01 0 0\n";
        assert_eq!(listeners(table), [Listener { port: 8080, address: Ipv4Addr::LOCALHOST.into() }]);
        let (load, processes) = load("0.52 1.07 12.00 3/417 9999\n");
        assert_eq!((load.one, load.five, load.fifteen, processes), (520, 1070, 12_000, 417));
        let cpu = cpu("cpu  100 0 50 1000 10 0 5 7 0 0\ncpu0 1\ncpu1 1\nintr 5\n");
        assert_eq!((cpu.count, cpu.busy_ms, cpu.idle_ms, cpu.steal_ms), (2, 1550, 10_100, 70));
        assert_eq!(memory("MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n").available, 1 << 20);
    }
}
