//! What a port lets through beyond the default.

use std::net::Ipv4Addr;

use minions_core::network::Network;
use minions_core::network::bridge::BridgeNetwork;
use minions_core::testkit::cx;
use minions_core::types::{Egress, Ipv4Cidr, PortPolicy, RateLimit};

use crate::frames::{IPV4, ethernet, udp};
use crate::guest::{Guest, Wire};
use crate::place::{Place, port};

const BRIDGE_MAC: [u8; 6] = [6, b'm', b'n', 0, 0, 0];

async fn uplink(place: &Place) -> Wire {
    let wire = Wire::foreign("uplink0");
    for words in [
        "address add 203.0.113.1/24 dev uplink0",
        "link set uplink0 up",
        "route add default via 203.0.113.254",
        "neighbour add 203.0.113.254 lladdr 02:09:09:09:09:09 dev uplink0 nud permanent",
    ] {
        place.ip(words).await;
    }
    wire
}

fn leaves(guest: &mut Guest, uplink: &mut Wire, to: [u8; 4], port: u16) -> bool {
    let packet = udp(guest.ip, 5000, Ipv4Addr::from(to), port, b"a packet");
    guest.wire.send(&ethernet(BRIDGE_MAC, guest.mac, IPV4, &packet));
    uplink.receives(b"a packet")
}

fn only(list: &[&str]) -> PortPolicy {
    let list: Vec<Ipv4Cidr> = list.iter().map(|text| text.parse().unwrap()).collect();
    PortPolicy { egress: Egress::Only(list), rate: None }
}

#[tokio::test]
async fn a_list_is_all_that_its_port_reaches_and_another_list_takes_its_place_at_once() {
    let Some(place) = Place::enter("lists of ranges") else { return };
    let mut uplink = uplink(&place).await;
    let network = place.open().await;
    let mut listed = port(5);
    // Twice the same, one inside another, one beside another, and one that nobody may reach.
    listed.policy = only(&["198.51.100.0/25", "198.51.100.0/24", "198.51.100.7", "198.51.101.0/24", "192.168.0.0/16"]);
    network.ensure_port(&cx(), &listed).await.unwrap();
    network.ensure_port(&cx(), &port(6)).await.unwrap();
    let mut guest = Guest::boot(&listed);
    let mut free = Guest::boot(&port(6));
    for to in [[198, 51, 100, 7], [198, 51, 100, 255], [198, 51, 101, 1]] {
        assert!(leaves(&mut guest, &mut uplink, to, 443), "{to:?}");
    }
    let closed = [[198, 51, 102, 1], [198, 51, 99, 255], [1, 1, 1, 1], [192, 168, 1, 1]];
    for to in closed {
        assert!(!leaves(&mut guest, &mut uplink, to, 443), "{to:?}");
    }
    assert!(!leaves(&mut guest, &mut uplink, [1, 1, 1, 1], 53), "resolvers are not on its list");
    assert_eq!(place.counter("inet", "not_listed").await, 4);
    assert!(leaves(&mut free, &mut uplink, [198, 51, 102, 1], 443), "the list is another port's");
    // Its monitor has it open all the time.
    listed.policy = only(&["198.51.102.0/24"]);
    network.ensure_port(&cx(), &listed).await.unwrap();
    assert!(leaves(&mut guest, &mut uplink, [198, 51, 102, 1], 443));
    assert!(!leaves(&mut guest, &mut uplink, [198, 51, 100, 7], 443), "of the list before");
    listed.policy = PortPolicy::default();
    network.ensure_port(&cx(), &listed).await.unwrap();
    assert!(leaves(&mut guest, &mut uplink, [198, 51, 100, 7], 443));
    assert!(!place.nft("list set inet minions allow").await.contains("elements"), "ranges are left");
    listed.policy = only(&[]);
    network.ensure_port(&cx(), &listed).await.unwrap();
    assert!(!leaves(&mut guest, &mut uplink, [198, 51, 100, 7], 443), "an empty list lets nothing through");
    drop(guest);
    network.ensure_absent(&cx(), listed.id).await.unwrap();
    drop(free);
    network.ensure_absent(&cx(), port(6).id).await.unwrap();
    drop(uplink);
    assert_eq!(place.census().await, "");
}

#[tokio::test]
async fn a_rate_holds_a_port_both_ways_and_no_other_port() {
    let Some(place) = Place::enter("rates") else { return };
    let mut uplink = uplink(&place).await;
    let network = place.open().await;
    let mut slow = port(5);
    slow.policy.rate = Some(RateLimit(1));
    network.ensure_port(&cx(), &slow).await.unwrap();
    network.ensure_port(&cx(), &port(6)).await.unwrap();
    let mut sent = [0, 0];
    for (at, config) in [&slow, &port(6)].into_iter().enumerate() {
        let mut guest = Guest::boot(config);
        // More than may come at once: at a byte a second no other gets through, however slow this machine is.
        for _ in 0..400 {
            let packet = udp(guest.ip, 5000, Ipv4Addr::new(198, 51, 100, 7), 443, &[7; 1400]);
            guest.wire.send(&ethernet(BRIDGE_MAC, guest.mac, IPV4, &packet));
        }
        sent[at] = uplink.received().iter().filter(|frame| frame.len() > 1400).count();
    }
    assert!((80..=100).contains(&sent[0]), "128 KiB go at once: {}", sent[0]);
    assert_eq!(sent[1], 400);
    let counted = place.counter("bridge", "too_fast").await;
    assert_eq!(counted, 400 - sent[0] as u64);
    // Towards it.
    let mut guest = Guest::boot(&slow);
    let socket = tokio::net::UdpSocket::bind("10.0.0.1:0").await.unwrap();
    for _ in 0..400 {
        socket.send_to(&[7; 1400], (slow.ip, 9)).await.unwrap();
    }
    let heard = guest.wire.received().iter().filter(|frame| frame.len() > 1400).count();
    assert!((80..=100).contains(&heard), "{heard}");
    // And lifted, without a new interface.
    slow.policy.rate = None;
    network.ensure_port(&cx(), &slow).await.unwrap();
    assert!(leaves(&mut guest, &mut uplink, [198, 51, 100, 7], 443));
}

#[tokio::test]
async fn a_private_range_is_reached_where_the_operator_opens_it_and_a_private_resolver_for_names_alone() {
    let Some(place) = Place::enter("open ranges") else { return };
    let mut uplink = uplink(&place).await;
    let mut config = place.config();
    config.open = vec!["192.168.7.0/24".parse().unwrap()];
    config.resolvers = vec![Ipv4Addr::new(192, 168, 1, 53)];
    let network = BridgeNetwork::open(config).await.unwrap();
    network.ensure_port(&cx(), &port(5)).await.unwrap();
    let mut guest = Guest::boot(&port(5));
    assert!(leaves(&mut guest, &mut uplink, [192, 168, 7, 9], 443));
    assert!(!leaves(&mut guest, &mut uplink, [192, 168, 8, 9], 443));
    assert!(leaves(&mut guest, &mut uplink, [192, 168, 1, 53], 53));
    assert!(!leaves(&mut guest, &mut uplink, [192, 168, 1, 53], 443));
    drop(network);
    // The next daemon's configuration counts.
    let _network = place.open().await;
    assert!(!leaves(&mut guest, &mut uplink, [192, 168, 7, 9], 443));
    assert!(leaves(&mut guest, &mut uplink, [8, 8, 8, 8], 443));
}

#[tokio::test]
async fn ctl_3_5_connections_to_resolvers_count_and_those_of_one_guest_take_none_from_another() {
    let Some(place) = Place::enter("too many connections") else { return };
    let mut uplink = uplink(&place).await;
    let mut config = place.config();
    config.flows = 8;
    let network = BridgeNetwork::open(config).await.unwrap();
    network.ensure_port(&cx(), &port(5)).await.unwrap();
    network.ensure_port(&cx(), &port(6)).await.unwrap();
    let (mut greedy, mut other) = (Guest::boot(&port(5)), Guest::boot(&port(6)));
    for from in 5_000..5_032 {
        let resolver = Ipv4Addr::from(if from % 2 == 0 { [1, 1, 1, 1] } else { [8, 8, 8, 8] });
        let packet = udp(greedy.ip, from, resolver, 53, b"what is its address");
        greedy.wire.send(&ethernet(BRIDGE_MAC, greedy.mac, IPV4, &packet));
    }
    let asked = uplink.received().iter().filter(|frame| frame.ends_with(b"what is its address")).count();
    assert_eq!(asked, 8, "names are asked for without end");
    assert_eq!(place.counter("inet", "too_many").await, 24);
    assert!(!leaves(&mut greedy, &mut uplink, [198, 51, 100, 7], 443), "what it has with resolvers is not counted");
    assert!(leaves(&mut other, &mut uplink, [1, 1, 1, 1], 53));
    assert!(leaves(&mut other, &mut uplink, [198, 51, 100, 7], 443));
    // What nobody may reach is not a connection.
    assert!(!leaves(&mut other, &mut uplink, [192, 168, 1, 1], 443));
    assert_eq!(place.counter("inet", "too_many").await, 25);
}
