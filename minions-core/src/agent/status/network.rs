//! Interfaces, the way out, resolvers.

use std::ffi::CStr;
use std::fs::read_to_string;
use std::net::Ipv4Addr;

use crate::api::guest::{Interface, NetworkStatus};

pub(super) fn network() -> NetworkStatus {
    let read = |path: &str| read_to_string(path).unwrap_or_default();
    NetworkStatus {
        interfaces: interfaces(),
        gateway: gateway(&read("/proc/net/route")),
        dns: dns(&read("/etc/resolv.conf")),
    }
}

fn interfaces() -> Vec<Interface> {
    let Ok(folder) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    let addresses = addresses();
    let mut interfaces: Vec<_> = folder
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let read = |file: &str| read_to_string(entry.path().join(file)).unwrap_or_default().trim().to_owned();
            let flags = u32::from_str_radix(read("flags").trim_start_matches("0x"), 16).unwrap_or(0);
            Interface {
                up: flags & 1 != 0,
                mac: read("address"),
                received: read("statistics/rx_bytes").parse().unwrap_or(0),
                sent: read("statistics/tx_bytes").parse().unwrap_or(0),
                addresses: addresses.iter().filter(|known| known.0 == name).map(|known| known.1.clone()).collect(),
                name,
            }
        })
        .collect();
    interfaces.sort_by(|one, other| one.name.cmp(&other.name));
    interfaces
}

/// Names of interfaces, and an address of each with its prefix.
#[expect(unsafe_code, reason = "addresses of interfaces are told by getifaddrs alone")]
fn addresses() -> Vec<(String, String)> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    let mut found = Vec::new();
    // SAFETY: on success getifaddrs gives a list that stays valid until freeifaddrs; on failure it is not touched.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return found;
    }
    let mut next = list;
    while !next.is_null() {
        // SAFETY: every node of the list is valid until it is freed below, and its name is a C string.
        let (entry, name) = unsafe { (&*next, CStr::from_ptr((*next).ifa_name)) };
        let name = name.to_string_lossy().into_owned();
        if let Some(address) = address_of(entry.ifa_addr) {
            let bits = address_of(entry.ifa_netmask).map_or(0, |mask| match mask {
                std::net::IpAddr::V4(mask) => u32::from(mask).count_ones(),
                std::net::IpAddr::V6(mask) => u128::from(mask).count_ones(),
            });
            found.push((name, format!("{address}/{bits}")));
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs, is freed once, and nothing borrowed from it is left.
    unsafe { libc::freeifaddrs(list) };
    found
}

#[expect(unsafe_code, reason = "a socket address of C is read by its family")]
fn address_of(address: *const libc::sockaddr) -> Option<std::net::IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: it is not null, and getifaddrs gives addresses as large as their family says; both are plain numbers.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let address = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let address = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(std::net::Ipv6Addr::from(address.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

fn gateway(route: &str) -> Option<Ipv4Addr> {
    route.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

fn dns(resolv_conf: &str) -> Vec<std::net::IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    };
    resolv_conf.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_and_the_resolvers_are_read() {
        let route =
            "Iface\tDestination\tGateway\tFlags\neth0\t0002000A\t00000000\t0001\neth0\t00000000\t0202000A\t0003\n";
        assert_eq!(gateway(route), Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(dns("# x\nsearch a\nnameserver 1.1.1.1\nnameserver ::1\n").len(), 2);
    }

    #[test]
    fn the_loopback_interface_is_shown_with_its_address() {
        let lo = interfaces().into_iter().find(|interface| interface.name == "lo").unwrap();
        assert!(lo.addresses.contains(&"127.0.0.1/8".to_owned()), "{lo:?}");
    }
}
