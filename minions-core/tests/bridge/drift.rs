//! What operators and crashes do to ports, and how they are found and mended.

use std::net::Ipv4Addr;

use minions_core::ErrorKind;
use minions_core::network::Network;
use minions_core::network::bridge::BridgeNetwork;
use minions_core::testkit::cx;
use minions_core::types::{Egress, RateLimit, names};

use crate::guest::{Guest, Wire};
use crate::place::{Place, elements, port};

async fn whole(network: &BridgeNetwork, number: u16) -> Option<bool> {
    network.observe(&cx(), port(number).id).await.unwrap().map(|status| status.nic.is_some())
}

#[tokio::test]
async fn fk_14_whatever_is_taken_from_a_port_is_seen_and_put_back() {
    let Some(place) = Place::enter("drift") else { return };
    let network = place.open().await;
    let (one, other) = (port(5), port(6));
    network.ensure_port(&cx(), &one).await.unwrap();
    network.ensure_port(&cx(), &other).await.unwrap();
    let good = place.census().await;
    let tap = names::tap(one.id);
    let drifts = [
        ("nft", "flush set bridge minions ip4".to_owned()),
        ("nft", "flush set bridge minions mac".to_owned()),
        ("nft", "flush set bridge minions ports".to_owned()),
        ("ip", format!("link set {tap} down")),
        ("ip", format!("link set {tap} nomaster")),
        ("ip", format!("link set {tap} type bridge_slave isolated off")),
        ("ip", format!("link set {tap} type bridge_slave learning on")),
        ("ip", format!("link delete {tap}")),
        ("ip", "link delete br0".to_owned()),
    ];
    for (program, words) in drifts {
        let program_path = if program == "nft" { &place.nft } else { &place.ip };
        place.run(program_path, &words).await;
        assert_eq!(whole(&network, 5).await, Some(false), "{words}: not seen");
        network.ensure_port(&cx(), &one).await.unwrap_or_else(|error| panic!("{words}: {}", error.chain()));
        assert_eq!(whole(&network, 5).await, Some(true), "{words}: not mended");
        network.ensure_port(&cx(), &other).await.unwrap();
        assert_eq!(whole(&network, 6).await, Some(true), "{words}: the other is not whole");
        assert_eq!(network.list(&cx()).await.unwrap().len(), 2);
    }
    // Somebody else's rules are nobody's business of ours.
    place.nft("add table inet theirs").await;
    assert_eq!(whole(&network, 5).await, Some(true));
    for port in [&one, &other] {
        network.ensure_absent(&cx(), port.id).await.unwrap();
    }
    assert_eq!(place.census().await, "");
    assert!(good.contains(tap.as_str()));
    assert!(place.nft("list tables").await.contains("table inet theirs"));
}

/// Waits until something is so, which it soon is.
async fn soon(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..2_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// Flags and chains of the tables, and the sets that are no port's.
async fn fixed(place: &Place) -> String {
    let mut all = String::new();
    for table in ["bridge minions", "inet minions"] {
        let text = place.nft(&format!("-s -t list table {table}")).await;
        all.extend(text.lines().filter(|line| line.contains("flags dormant") || line.contains("hook")));
    }
    for set in ["bridges", "subnets", "resolvers", "closed", "open"] {
        all.push_str(&elements(&place.nft(&format!("list set inet minions {set}")).await));
    }
    all
}

#[tokio::test]
async fn fk_14_rules_that_somebody_takes_away_or_adds_are_put_back_at_once_and_unasked() {
    let Some(place) = Place::enter("drift of rules") else { return };
    let network = place.open().await;
    let (mut one, other) = (port(5), port(6));
    one.policy.rate = Some(RateLimit(1 << 20));
    one.policy.egress = Egress::Only(vec!["198.51.100.0/24".parse().unwrap()]);
    network.ensure_port(&cx(), &one).await.unwrap();
    network.ensure_port(&cx(), &other).await.unwrap();
    let (good, rules) = (place.census().await, place.nft("-s list chain inet minions egress").await);
    let table = fixed(&place).await;
    for words in [
        "flush ruleset",
        "delete table bridge minions",
        "delete table inet minions",
        "flush table bridge minions",
        "flush chain inet minions forward",
        "insert rule bridge minions prerouting accept",
        "insert rule inet minions egress accept",
        // Every rule stays as it is, and does nothing any more.
        "flush set inet minions bridges",
        "flush set inet minions closed",
        "delete element inet minions closed { 192.168.0.0/16 }",
        "add element inet minions open { 192.168.7.0/24 }",
        "flush set inet minions subnets",
        "add table inet minions { flags dormant; }",
        "add table bridge minions { flags dormant; }",
        "add chain inet minions forward { policy drop; }",
    ] {
        place.nft(words).await;
        soon(words, async || whole(&network, 5).await == Some(true) && whole(&network, 6).await == Some(true)).await;
        assert_eq!(place.census().await, good, "{words}");
        assert_eq!(place.nft("-s list chain inet minions egress").await, rules, "{words}");
        assert_eq!(fixed(&place).await, table, "{words}");
    }
    // A daemon that does not know the port's policy closes it, until it is told.
    drop(network);
    place.nft("flush ruleset").await;
    let network = place.open().await;
    assert_eq!((whole(&network, 5).await, whole(&network, 6).await), (Some(false), Some(true)));
    network.ensure_port(&cx(), &one).await.unwrap();
    assert_eq!(whole(&network, 5).await, Some(true));
    assert_eq!(place.census().await, good);
}

#[tokio::test]
async fn inv_10_a_firewall_that_cannot_be_changed_leaves_nothing_up() {
    let Some(place) = Place::enter("a firewall that fails") else { return };
    let mut config = place.config();
    let nft = tempfile::tempdir().unwrap();
    // The program as it was when the service started.
    let link = nft.path().join("nft");
    std::os::unix::fs::symlink(&place.nft, &link).unwrap();
    config.nft.clone_from(&link);
    let network = BridgeNetwork::open(config).await.unwrap();
    network.ensure_port(&cx(), &port(5)).await.unwrap();
    std::fs::remove_file(&link).unwrap();
    place.nft("flush ruleset").await;
    let up = async || place.ip("-o link show type tun").await.contains(",UP");
    soon("it goes down, unasked", async || !up().await).await;
    for number in [5, 6] {
        let error = network.ensure_port(&cx(), &port(number)).await.expect_err("nothing can pin it");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    }
    let links = place.ip("-o link show type tun").await;
    assert!(!links.contains(names::tap(port(6).id).as_str()), "one is left that was never pinned: {links}");
    assert!(!links.contains(",UP") && !links.contains("<UP"), "up without rules: {links}");
    std::os::unix::fs::symlink(&place.nft, &link).unwrap();
    // Nobody asks, and no rule changes: it is tried again all the same.
    soon("the table comes back, unasked", async || place.nft("list tables").await.contains("inet minions")).await;
    for number in [5, 6] {
        network.ensure_port(&cx(), &port(number)).await.unwrap();
        assert_eq!(whole(&network, number).await, Some(true));
    }
}

#[tokio::test]
async fn a_new_daemon_finds_the_ports_and_their_guests_notice_nothing() {
    let Some(place) = Place::enter("a new daemon") else { return };
    let network = place.open().await;
    network.ensure_port(&cx(), &port(5)).await.unwrap();
    let mut guest = Guest::boot(&port(5));
    let before = place.census().await;
    drop(network);
    let network = place.open().await;
    assert_eq!(place.census().await, before);
    assert_eq!(network.list(&cx()).await.unwrap(), [port(5).id]);
    assert_eq!(whole(&network, 5).await, Some(true));
    let sent = network.sent().await.unwrap();
    network.ensure_port(&cx(), &port(5)).await.unwrap();
    assert_eq!(network.sent().await.unwrap().filter, sent.filter, "something was changed");
    let ask = crate::frames::arp(1, (guest.mac, guest.ip), ([0; 6], Ipv4Addr::new(10, 0, 0, 1)));
    guest.wire.send(&crate::frames::ethernet(crate::frames::BROADCAST, guest.mac, crate::frames::ARP, &ask));
    assert!(!guest.wire.received().is_empty(), "cut off from its gateway");
    // While its monitor has it open it stays; once that is gone it goes.
    let error = network.ensure_absent(&cx(), port(5).id).await.expect_err("it is open");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(whole(&network, 5).await, Some(true));
    drop(guest);
    network.ensure_absent(&cx(), port(5).id).await.unwrap();
    assert_eq!(place.census().await, "");
}

#[tokio::test]
async fn a_port_of_nobody_is_listed_and_what_is_left_of_a_half_one_too() {
    let Some(place) = Place::enter("leaks") else { return };
    let network = place.open().await;
    for number in [5, 6, 7] {
        network.ensure_port(&cx(), &port(number)).await.unwrap();
    }
    // A crash, and elements without an interface, an interface without elements.
    drop(network);
    place.ip(&format!("link delete {}", names::tap(port(5).id))).await;
    place.ip(&format!("link delete {}", names::tap(port(7).id))).await;
    place.nft("flush set bridge minions ports").await;
    place.nft("flush set bridge minions mac").await;
    let network = place.open().await;
    let mut listed = network.list(&cx()).await.unwrap();
    listed.sort_unstable();
    let mut all = [port(5).id, port(6).id, port(7).id];
    all.sort_unstable();
    assert_eq!(listed, all);
    assert_eq!(whole(&network, 5).await, Some(false));
    for number in [5, 6, 7] {
        network.ensure_absent(&cx(), port(number).id).await.unwrap();
        assert_eq!(whole(&network, number).await, None);
    }
    assert_eq!(network.list(&cx()).await.unwrap(), []);
    assert_eq!(place.census().await, "");
}

#[tokio::test]
async fn ctl_3_6_an_address_comes_without_the_connections_and_neighbours_of_who_had_it() {
    let Some(place) = Place::enter("address reuse") else { return };
    let network = place.open().await;
    let first = port(5);
    network.ensure_port(&cx(), &first).await.unwrap();
    let mut guest = Guest::boot(&first);
    let socket = tokio::net::UdpSocket::bind("10.0.0.1:0").await.unwrap();
    socket.send_to(b"for the first", (first.ip, 9)).await.unwrap();
    assert!(guest.wire.receives(b"for the first"));
    let tracked = async || {
        let text = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").ok();
        text.map(|text| text.lines().filter(|line| line.contains("10.0.0.5")).count())
    };
    if let Some(count) = tracked().await {
        assert!(count > 0, "the connection is not tracked, so that forgetting it shows nothing");
    } else {
        minions_core::testkit::skip("forgetting connections", "this kernel shows none in /proc/net/nf_conntrack");
    }
    let reply =
        crate::frames::udp(first.ip, 9, Ipv4Addr::new(10, 0, 0, 1), socket.local_addr().unwrap().port(), b"late");
    drop(guest);
    network.ensure_absent(&cx(), first.id).await.unwrap();
    assert_ne!(tracked().await, Some(1));
    assert_eq!(tracked().await.unwrap_or(0), 0);
    // The next one has the address, another link address, and nothing of the first one's.
    let mut second = port(6);
    second.ip = first.ip;
    network.ensure_port(&cx(), &second).await.unwrap();
    let mut guest = Guest::boot(&second);
    guest.wire.send(&crate::frames::ethernet([6, b'm', b'n', 0, 0, 0], guest.mac, crate::frames::IPV4, &reply));
    assert_eq!(place.counter("inet", "to_host").await, 1, "what the first had open is open to the second");
    socket.send_to(b"for the second", (second.ip, 9)).await.unwrap();
    let heard = guest.wire.received();
    let frame = heard.iter().find(|frame| frame.ends_with(b"for the second")).expect("it arrives");
    assert_eq!(frame[..6], second.mac.octets(), "under the first one's link address");
    let error = network.ensure_port(&cx(), &first).await.expect_err("the address is taken");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let _ = Wire::foreign("spare0");
}
