//! Brings up the network that the command line gives.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, socket};

use super::cmdline::BootPlan;
use super::uevent;
use crate::agent::log::say;

/// How long an interface may take to appear.
const INTERFACE: Duration = Duration::from_secs(20);

/// What cannot be brought up is said; the guest boots, and its agent is reached all the same.
pub(super) fn up(plan: &BootPlan) {
    if let Some(name) = &plan.hostname
        && let Err(error) = rustix::system::sethostname(name.as_bytes())
    {
        say(format_args!("cannot set the host name: {error}"));
    }
    let socket = match socket(AddressFamily::INET, SocketType::DGRAM, None) {
        Ok(socket) => socket,
        Err(error) => return say(format_args!("this kernel has no network: {error}")),
    };
    let tell = |what: &str, done: std::io::Result<()>| {
        if let Err(error) = done {
            say(format_args!("cannot {what}: {error}"));
        }
    };
    tell("bring up the loopback interface", raise(&socket, "lo"));
    let Some((ip, prefix)) = plan.ip else { return };
    let Some(name) = interface(plan.mac.as_deref()) else {
        return say(format_args!("the machine has no network interface for {ip}"));
    };
    tell("set the address", address(&socket, &name, libc::SIOCSIFADDR, ip));
    tell("set the prefix", address(&socket, &name, libc::SIOCSIFNETMASK, mask(prefix)));
    tell("bring up the interface", raise(&socket, &name));
    if let Some(gateway) = plan.gateway {
        tell("set the way out", route(&socket, gateway));
    }
}

/// Until the interface is there that an address is meant for: in an image that boots by itself its driver is loaded by
/// others. One that does not come is said where it is missed.
pub(super) fn wait(plan: &BootPlan) {
    if plan.ip.is_some()
        && let Err(error) = uevent::wait(INTERFACE, || interface(plan.mac.as_deref()))
    {
        say(format_args!("{}", error.chain()));
    }
}

/// The interface with the address, or the first that is not the loopback.
fn interface(mac: Option<&str>) -> Option<String> {
    let folder = std::fs::read_dir("/sys/class/net").ok()?;
    let mut names: Vec<_> = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter().filter(|name| name != "lo").find(|name| match mac {
        Some(mac) => std::fs::read_to_string(format!("/sys/class/net/{name}/address")).is_ok_and(|is| is.trim() == mac),
        None => true,
    })
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

fn socket_address(ip: Ipv4Addr) -> libc::sockaddr {
    let mut address = libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: [0; 14] };
    // The port, of two bytes, comes first.
    for (to, from) in address.sa_data[2..6].iter_mut().zip(ip.octets()) {
        *to = from as libc::c_char;
    }
    address
}

fn request(name: &str) -> libc::ifreq {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_addr: socket_address(Ipv4Addr::UNSPECIFIED) };
    libc::ifreq { ifr_name, ifr_ifru }
}

#[expect(unsafe_code, reason = "the requests have no safe wrapper")]
fn address(socket: &OwnedFd, name: &str, what: libc::c_ulong, ip: Ipv4Addr) -> std::io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_addr = socket_address(ip);
    // SAFETY: both requests read an ifreq with an address, which this one holds.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), what as _, &raw mut request) })
}

#[expect(unsafe_code, reason = "the requests have no safe wrapper")]
fn raise(socket: &OwnedFd, name: &str) -> std::io::Result<()> {
    let mut request = request(name);
    // SAFETY: the request fills the flags of an ifreq whose name is set.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: the request above has set the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: the request reads the flags of an ifreq, which are set.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) })
}

#[expect(unsafe_code, reason = "the request has no safe wrapper")]
fn route(socket: &OwnedFd, gateway: Ipv4Addr) -> std::io::Result<()> {
    const UP: libc::c_ushort = 1;
    const GATEWAY: libc::c_ushort = 2;
    // SAFETY: an rtentry is plain numbers and pointers that may be null.
    let mut entry: libc::rtentry = unsafe { std::mem::zeroed() };
    entry.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    entry.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    entry.rt_gateway = socket_address(gateway);
    entry.rt_flags = UP | GATEWAY;
    // SAFETY: the request reads an rtentry, which this is.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as _, &raw mut entry) })
}

fn checked(result: libc::c_int) -> std::io::Result<()> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_become_masks() {
        assert_eq!(mask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(mask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(mask(32), Ipv4Addr::BROADCAST);
    }
}
