//! The bridges themselves: made, told apart from those of others, and never more than looked at where they are not ours.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use rustix::io::Errno;

use super::config::{BridgeConfig, overlap};
use super::error::BridgeError;
use super::link::{self, Link};
use super::record::BRIDGE_LABEL;
use super::socket::Socket;
use crate::types::{IfName, Ipv4Cidr};

/// An interface, or none of this name.
pub(super) fn look(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    let answer = socket.ask(&[link::get(name)])?.into_iter().next().unwrap_or_default();
    match answer.error {
        None => Ok(answer.bodies.first().and_then(|body| Link::read(body))),
        Some(Errno::NODEV) => Ok(None),
        Some(error) => Err(error.into()),
    }
}

/// The addresses of all interfaces.
fn addresses(socket: &mut Socket) -> io::Result<HashMap<u32, Vec<(Ipv4Addr, u8)>>> {
    let mut of: HashMap<u32, Vec<(Ipv4Addr, u8)>> = HashMap::new();
    for body in socket.dump(&link::addresses())? {
        if let Some((index, ip, prefix)) = link::read_address(&body) {
            of.entry(index).or_default().push((ip, prefix));
        }
    }
    Ok(of)
}

/// The bridge of a shard, where it is there and ours. An error where it is not ours, or not as it must be.
pub(super) fn find(socket: &mut Socket, config: &BridgeConfig, shard: u32) -> Result<Option<Link>, BridgeError> {
    let name = config.bridge(shard);
    let Some(link) = look(socket, name.as_str()).map_err(BridgeError::io("look at a bridge"))? else { return Ok(None) };
    let refuse = |what: String, fix: String| BridgeError::Bridge { name: name.to_string(), what, fix };
    let ours = link.label == BRIDGE_LABEL;
    // A crash may have come between making one and labelling it.
    let unlabelled = link.label.is_empty() && link.mac == BridgeConfig::bridge_mac(shard);
    if link.kind != "bridge" || !(ours || unlabelled) {
        let what =
            format!("is there, and is not ours ({})", if link.kind.is_empty() { "no bridge" } else { &link.kind });
        let fix = match link.kind == "bridge" {
            true => {
                format!("choose another network.bridge, or hand it over: ip link set dev {name} alias '{BRIDGE_LABEL}'")
            }
            false => "choose another network.bridge".to_owned(),
        };
        return Err(refuse(what, fix));
    }
    let (gateway, prefix) = (config.gateway(shard)?, config.subnet.prefix());
    let have = addresses(socket).map_err(BridgeError::io("list addresses"))?.remove(&link.index).unwrap_or_default();
    if let Some((ip, bits)) = have.iter().find(|have| **have != (gateway, prefix)) {
        let what = format!("has the address {ip}/{bits} and should have {gateway}/{prefix} alone");
        return Err(refuse(what, format!("ip address delete {ip}/{bits} dev {name}")));
    }
    Ok(Some(link))
}

/// Refuses a bridge of ours that the configuration no longer has: no rule would keep its guests from the host.
pub(super) fn refuse_left(socket: &mut Socket, config: &BridgeConfig) -> Result<(), BridgeError> {
    let names: Vec<IfName> = (0..config.shards).map(|shard| config.bridge(shard)).collect();
    let bodies = socket.dump(&link::get_kind("bridge")).map_err(BridgeError::io("list bridges"))?;
    let ours = bodies.iter().filter_map(|body| Link::read(body)).filter(|link| link.label == BRIDGE_LABEL);
    match ours.map(|link| link.name).find(|name| names.iter().all(|known| known.as_str() != name)) {
        None => Ok(()),
        Some(name) => Err(BridgeError::Bridge {
            what: "is ours, and not in the configuration: raise network.bridges if VMs are on it".to_owned(),
            fix: format!("ip link delete {name}"),
            name,
        }),
    }
}

/// Another way of this host into the guests' subnets, if there is one.
pub(super) fn crossing(socket: &mut Socket, config: &BridgeConfig) -> Result<Option<BridgeError>, BridgeError> {
    let mut own = Vec::new();
    for shard in 0..config.shards {
        own.extend(look(socket, config.bridge(shard).as_str()).map_err(BridgeError::io("look at a bridge"))?);
    }
    for body in socket.dump(&link::routes()).map_err(BridgeError::io("list routes"))? {
        let Some((index, to, prefix)) = link::read_route(&body) else { continue };
        let Ok(route) = Ipv4Cidr::new(to, prefix) else { continue };
        if prefix == 0 || own.iter().any(|bridge| bridge.index == index) {
            continue;
        }
        for shard in 0..config.shards {
            let subnet = config.subnet_of(shard)?;
            if overlap(subnet, route) {
                return Ok(Some(BridgeError::Overlap { subnet, route }));
            }
        }
    }
    Ok(None)
}

/// The bridge of a shard is there, labelled, addressed, up and without IPv6. Its index.
pub(super) fn ensure(socket: &mut Socket, config: &BridgeConfig, shard: u32) -> Result<u32, BridgeError> {
    let name = config.bridge(shard);
    let what = BridgeError::io("make a bridge");
    let index = match find(socket, config, shard)? {
        Some(link) => link.index,
        None => {
            let made = socket.ask_one(link::make_bridge(name.as_str(), BridgeConfig::bridge_mac(shard)));
            made.map_err(what)?;
            let found = look(socket, name.as_str()).map_err(BridgeError::io("look at a bridge"))?;
            found
                .map(|link| link.index)
                .ok_or_else(|| BridgeError::io("make a bridge")(io::ErrorKind::NotFound.into()))?
        }
    };
    harden(&name).map_err(BridgeError::io("set what a bridge does by itself"))?;
    let steps = [
        link::label(index, BRIDGE_LABEL),
        link::add_address(index, config.gateway(shard)?, config.subnet.prefix()),
        link::up(index),
    ];
    for answer in socket.ask(&steps).map_err(BridgeError::io("set up a bridge"))? {
        if let Some(error) = answer.error {
            return Err(BridgeError::io("set up a bridge")(error.into()));
        }
    }
    Ok(index)
}

/// No IPv6; answers ARP for its own address only, sends nobody elsewhere, takes what comes from where it belongs.
fn harden(name: &IfName) -> io::Result<()> {
    set_if_there(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
    for (key, value) in [
        ("arp_ignore", "1"),
        ("send_redirects", "0"),
        ("accept_redirects", "0"),
        ("rp_filter", "1"),
        ("forwarding", "1"),
    ] {
        set_if_there(&format!("/proc/sys/net/ipv4/conf/{name}/{key}"), value)?;
    }
    Ok(())
}

/// Sets one of the kernel's switches, in the network namespace of the calling thread, unless it stands so already. A
/// switch that is not there is one of something that the kernel does not have.
pub(super) fn set_if_there(path: &str, value: &str) -> io::Result<()> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim() == value => Ok(()),
        Ok(_) => std::fs::write(path, value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the kernel has IPv6 at all.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Whether packets are handed on from one interface to another.
pub(super) fn forwards() -> io::Result<bool> {
    Ok(std::fs::read_to_string(FORWARD)?.trim() == "1")
}

/// Packets are handed on.
pub(super) fn forward() -> Result<(), BridgeError> {
    set_if_there(FORWARD, "1").map_err(|source| BridgeError::Bridge {
        name: FORWARD.to_owned(),
        what: format!("cannot be set ({source})"),
        fix: "sysctl -w net.ipv4.ip_forward=1".to_owned(),
    })
}

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
