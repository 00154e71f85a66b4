//! The matrix: each thing that a guest must not do is tried without the rules, where it works, and with them, where it
//! does not, and the firewall's counter tells that it was tried.

use std::net::Ipv4Addr;

use minions_core::network::Network;
use minions_core::network::bridge::BridgeNetwork;
use minions_core::testkit::cx;
use minions_core::types::names;

use crate::frames::{ARP, BROADCAST, IPV4, IPV6, SYN, advertisement, arp, ends, ethernet, ping, tcp, udp};
use crate::guest::{Capture, Guest, Wire};
use crate::place::{Place, port, port_at};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const BRIDGE_MAC: [u8; 6] = [6, b'm', b'n', 0, 0, 0];
/// The host's address towards the internet, and one of the internet's.
const UPLINK: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const ROUTER_MAC: [u8; 6] = [2, 9, 9, 9, 9, 9];

/// Three guests, two of them on one bridge, a wire to the internet, and an eye on the first bridge.
struct Scene {
    place: Place,
    /// Not there while the rules are not, which it would put back.
    network: Option<BridgeNetwork>,
    guest: Guest,
    neighbour: Guest,
    elsewhere: Guest,
    uplink: Wire,
    bridge: Capture,
}

async fn open(place: &Place) -> BridgeNetwork {
    let mut config = place.config();
    config.shards = 2;
    BridgeNetwork::open(config).await.unwrap()
}

impl Scene {
    async fn set(case: &str) -> Option<Self> {
        let place = Place::enter(case)?;
        place.ip("link set lo up").await;
        let uplink = Wire::foreign("uplink0");
        for words in [
            "address add 203.0.113.1/24 dev uplink0",
            "link set uplink0 up",
            "route add default via 203.0.113.254",
            "neighbour add 203.0.113.254 lladdr 02:09:09:09:09:09 dev uplink0 nud permanent",
        ] {
            place.ip(words).await;
        }
        let network = open(&place).await;
        let ports = [port(5), port(6), port_at(7, Ipv4Addr::new(10, 1, 0, 7))];
        for port in &ports {
            network.ensure_port(&cx(), port).await.unwrap();
        }
        let [guest, neighbour, elsewhere] = ports.map(|port| Guest::boot(&port));
        let index = place.ip("-o link show br0").await;
        let bridge = Capture::on(index.split(':').next().unwrap().parse().unwrap());
        let mut scene = Self { place, network: Some(network), guest, neighbour, elsewhere, uplink, bridge };
        scene.drain();
        Some(scene)
    }

    fn drain(&mut self) {
        for wire in [&mut self.guest.wire, &mut self.neighbour.wire, &mut self.elsewhere.wire, &mut self.uplink] {
            wire.received();
        }
        self.bridge.saw(b"nothing");
    }

    /// The rules are gone, and what the bridge itself keeps apart is together.
    async fn undo(&mut self) {
        self.network = None;
        self.place.nft("delete table bridge minions").await;
        self.place.nft("delete table inet minions").await;
        for port in [port(5), port(6)] {
            self.place.ip(&format!("link set {} type bridge_slave isolated off", names::tap(port.id))).await;
        }
    }

    fn say(&mut self, frame: Vec<u8>) {
        self.guest.wire.send(&frame);
    }

    /// An IPv4 packet of the guest's to its gateway.
    fn say_ip(&mut self, packet: &[u8]) {
        let mac = self.guest.mac;
        self.say(ethernet(BRIDGE_MAC, mac, IPV4, packet));
    }

    /// Whether a marked packet from this guest comes out towards the internet.
    fn leaves(&mut self, mark: &[u8]) -> bool {
        self.uplink.receives(mark)
    }
}

/// What is tried; whether it worked; which counter tells of it.
type Probe = (&'static str, fn(&mut Scene) -> bool, &'static str, &'static str);

fn marked_udp(from: Ipv4Addr, to: Ipv4Addr, mark: &[u8]) -> Vec<u8> {
    udp(from, 4000, to, 9, mark)
}

fn to(scene: &mut Scene, to: Ipv4Addr, mark: &'static [u8]) -> bool {
    let packet = marked_udp(scene.guest.ip, to, mark);
    scene.say_ip(&packet);
    scene.leaves(mark)
}

/// Whether the host answers a beginning of a connection, in whatever way.
fn answers(scene: &mut Scene, to: Ipv4Addr, port: u16) -> bool {
    let packet = tcp(scene.guest.ip, 40_000, to, port, SYN, (1, 0));
    scene.say_ip(&packet);
    scene.guest.wire.received().iter().any(|frame| ends(frame).is_some_and(|(from, _)| from == to))
}

fn reaches_bridge(scene: &mut Scene, frame: Vec<u8>, mark: &[u8]) -> bool {
    scene.say(frame);
    scene.bridge.saw(mark)
}

const PROBES: &[Probe] = &[
    (
        "MAC spoofing",
        |s| {
            let packet = marked_udp(s.guest.ip, INTERNET, b"probe-mac-0");
            s.say(ethernet(BRIDGE_MAC, [2, 6, 6, 6, 6, 6], IPV4, &packet));
            s.leaves(b"probe-mac-0")
        },
        "bridge",
        "spoofed_mac",
    ),
    (
        "MAC of the neighbour",
        |s| {
            let packet = marked_udp(s.guest.ip, INTERNET, b"probe-mac-1");
            let mac = s.neighbour.mac;
            s.say(ethernet(BRIDGE_MAC, mac, IPV4, &packet));
            s.leaves(b"probe-mac-1")
        },
        "bridge",
        "spoofed_mac",
    ),
    (
        "IP spoofing, the neighbour's",
        |s| {
            let packet = marked_udp(s.neighbour.ip, INTERNET, b"probe-ip-0");
            s.say_ip(&packet);
            s.leaves(b"probe-ip-0")
        },
        "bridge",
        "spoofed_ip",
    ),
    (
        "IP spoofing, nobody's",
        |s| {
            let packet = marked_udp(Ipv4Addr::new(10, 0, 3, 77), INTERNET, b"probe-ip-1");
            s.say_ip(&packet);
            s.leaves(b"probe-ip-1")
        },
        "bridge",
        "spoofed_ip",
    ),
    (
        "ARP that asks in another's name",
        |s| {
            let ask = arp(1, (s.guest.mac, Ipv4Addr::new(10, 0, 3, 78)), ([0; 6], GATEWAY));
            let mac = s.guest.mac;
            s.say(ethernet(BROADCAST, mac, ARP, &ask));
            s.guest.wire.received().iter().any(|frame| frame[12..14] == ARP.to_be_bytes())
        },
        "bridge",
        "spoofed_arp",
    ),
    (
        "ARP that claims the gateway",
        |s| {
            let claim = arp(2, (s.guest.mac, GATEWAY), (s.neighbour.mac, s.neighbour.ip));
            let (mac, neighbour) = (s.guest.mac, s.neighbour.mac);
            s.say(ethernet(neighbour, mac, ARP, &claim));
            s.neighbour.wire.receives(&claim)
        },
        "bridge",
        "spoofed_arp",
    ),
    (
        "ARP with another sender inside",
        |s| {
            let claim = arp(2, ([2, 7, 7, 7, 7, 7], s.guest.ip), (BRIDGE_MAC, GATEWAY));
            let mac = s.guest.mac;
            reaches_bridge(s, ethernet(BRIDGE_MAC, mac, ARP, &claim), &claim)
        },
        "bridge",
        "spoofed_arp",
    ),
    (
        "IPv6 router advertisement",
        |s| {
            let mac = s.guest.mac;
            let frame = ethernet([0x33, 0x33, 0, 0, 0, 1], mac, IPV6, &advertisement());
            reaches_bridge(s, frame, &advertisement())
        },
        "bridge",
        "other_protocol",
    ),
    (
        "a frame in a VLAN",
        |s| {
            let inner = [&[0, 7][..], &IPV4.to_be_bytes(), &marked_udp(s.guest.ip, GATEWAY, b"probe-vlan")].concat();
            let mac = s.guest.mac;
            reaches_bridge(s, ethernet(BRIDGE_MAC, mac, 0x8100, &inner), b"probe-vlan")
        },
        "bridge",
        "other_protocol",
    ),
    (
        "LLDP",
        |s| {
            let mac = s.guest.mac;
            reaches_bridge(s, ethernet(BRIDGE_MAC, mac, 0x88cc, b"probe-lldp-0123456789"), b"probe-lldp")
        },
        "bridge",
        "other_protocol",
    ),
    (
        "DHCP, from no address",
        |s| {
            let mac = s.guest.mac;
            let packet = udp(Ipv4Addr::UNSPECIFIED, 68, Ipv4Addr::BROADCAST, 67, b"probe-dhcp");
            reaches_bridge(s, ethernet(BROADCAST, mac, IPV4, &packet), b"probe-dhcp")
        },
        "bridge",
        "spoofed_ip",
    ),
    (
        "the neighbour, directly",
        |s| {
            let packet = marked_udp(s.guest.ip, s.neighbour.ip, b"probe-l2");
            let (mac, neighbour) = (s.guest.mac, s.neighbour.mac);
            s.say(ethernet(neighbour, mac, IPV4, &packet));
            s.neighbour.wire.receives(b"probe-l2")
        },
        "none",
        "isolated",
    ),
    (
        "the neighbour, through the host",
        |s| {
            let packet = marked_udp(s.guest.ip, s.neighbour.ip, b"probe-l3");
            s.say_ip(&packet);
            s.neighbour.wire.receives(b"probe-l3")
        },
        "inet",
        "hairpin",
    ),
    (
        "a guest of another bridge",
        |s| {
            let packet = marked_udp(s.guest.ip, s.elsewhere.ip, b"probe-shard");
            s.say_ip(&packet);
            s.elsewhere.wire.receives(b"probe-shard")
        },
        "inet",
        "hairpin",
    ),
    ("the host, by TCP", |s| answers(s, GATEWAY, 22), "inet", "to_host"),
    ("the host's other bridge", |s| answers(s, Ipv4Addr::new(10, 1, 0, 1), 22), "inet", "to_host"),
    ("the host's public address", |s| answers(s, UPLINK, 443), "inet", "to_host"),
    (
        "the host, by ping",
        |s| {
            let packet = ping(s.guest.ip, GATEWAY, b"probe-ping");
            s.say_ip(&packet);
            s.guest.wire.receives(b"probe-ping")
        },
        "inet",
        "to_host",
    ),
    ("metadata", |s| to(s, Ipv4Addr::new(169, 254, 169, 254), b"probe-metadata"), "inet", "closed_range"),
    ("10/8", |s| to(s, Ipv4Addr::new(10, 99, 0, 1), b"probe-10"), "inet", "closed_range"),
    ("172.16/12", |s| to(s, Ipv4Addr::new(172, 31, 255, 1), b"probe-172"), "inet", "closed_range"),
    ("192.168/16", |s| to(s, Ipv4Addr::new(192, 168, 1, 1), b"probe-192"), "inet", "closed_range"),
    ("100.64/10", |s| to(s, Ipv4Addr::new(100, 100, 100, 200), b"probe-100"), "inet", "closed_range"),
    ("reserved addresses", |s| to(s, Ipv4Addr::new(198, 18, 0, 1), b"probe-198"), "inet", "closed_range"),
    (
        "mail servers",
        |s| {
            let packet = tcp(s.guest.ip, 41_000, INTERNET, 25, SYN, (0x4d41_494c, 0));
            s.say_ip(&packet);
            s.leaves(b"MAIL")
        },
        "inet",
        "mail",
    ),
    (
        "from the internet into a guest",
        |s| {
            let packet = marked_udp(INTERNET, s.guest.ip, b"probe-inward");
            s.uplink.send(&ethernet(uplink_mac(), ROUTER_MAC, IPV4, &packet));
            s.guest.wire.receives(b"probe-inward")
        },
        "inet",
        "unasked",
    ),
];

fn uplink_mac() -> [u8; 6] {
    UPLINK_MAC.with(|mac| *mac.borrow())
}

thread_local! {
    static UPLINK_MAC: std::cell::RefCell<[u8; 6]> = const { std::cell::RefCell::new([0; 6]) };
}

async fn learn_uplink(place: &Place) {
    let text = place.ip("-o link show uplink0").await;
    let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    let bytes: Vec<u8> = mac.split(':').map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    UPLINK_MAC.with(|known| *known.borrow_mut() = bytes.try_into().unwrap());
}

#[tokio::test]
async fn ctl_3_what_a_guest_must_not_do_works_without_the_rules_and_not_with_them() {
    let Some(mut scene) = Scene::set("the isolation matrix").await else { return };
    learn_uplink(&scene.place).await;
    scene.undo().await;
    for (name, probe, _, _) in PROBES {
        assert!(probe(&mut scene), "{name}: does not work even without the rules, so that it shows nothing");
        scene.drain();
    }
    let network = open(&scene.place).await;
    let gone = network.observe(&cx(), port(5).id).await.unwrap().expect("it is there");
    assert_eq!(gone.nic, None, "a port that reaches others is not whole");
    for port in [port(5), port(6)] {
        network.ensure_port(&cx(), &port).await.unwrap();
    }
    // What was tracked without the rules would pass as established.
    network.ensure_port(&cx(), &port_at(7, Ipv4Addr::new(10, 1, 0, 7))).await.unwrap();
    let mut told = Vec::new();
    for (name, probe, family, counter) in PROBES {
        let before = if *family == "none" { 0 } else { scene.place.counter(family, counter).await };
        assert!(!probe(&mut scene), "{name}: works");
        scene.drain();
        if *family != "none" {
            let after = scene.place.counter(family, counter).await;
            assert!(after > before, "{name}: {counter} did not count it");
            told.push(format!("{name}: {counter} +{}", after - before));
        }
    }
    assert_eq!(told.len(), PROBES.len() - 1);
}

#[tokio::test]
async fn what_a_guest_may_do_works_with_the_rules() {
    let Some(mut scene) = Scene::set("what a guest may do").await else { return };
    learn_uplink(&scene.place).await;
    // It finds its gateway,
    let ask = arp(1, (scene.guest.mac, scene.guest.ip), ([0; 6], GATEWAY));
    let mac = scene.guest.mac;
    scene.say(ethernet(BROADCAST, mac, ARP, &ask));
    let answer = arp(2, (BRIDGE_MAC, GATEWAY), (scene.guest.mac, scene.guest.ip));
    assert!(scene.guest.wire.receives(&answer), "nobody answers for the gateway");
    // reaches the internet under the host's address, and gets its answer,
    let packet = udp(scene.guest.ip, 5000, INTERNET, 53, b"a question");
    scene.say_ip(&packet);
    let out = scene.uplink.received().into_iter().find(|frame| frame.ends_with(b"a question")).expect("it leaves");
    assert_eq!(ends(&out), Some((UPLINK, INTERNET)), "it leaves under another address");
    let from_port = u16::from_be_bytes([out[34], out[35]]);
    let reply = udp(INTERNET, 53, UPLINK, from_port, b"an answer");
    scene.uplink.send(&ethernet(uplink_mac(), ROUTER_MAC, IPV4, &reply));
    assert!(scene.guest.wire.receives(b"an answer"));
    // and is reached from the host.
    let guest = scene.guest.ip;
    let connecting = tokio::net::TcpStream::connect((guest, 8080));
    let spoken = async {
        tokio::task::yield_now().await;
        let mut syn = None;
        while syn.is_none() {
            tokio::task::yield_now().await;
            syn = scene.guest.wire.received().into_iter().find(|frame| ends(frame) == Some((GATEWAY, guest)));
        }
        let syn = syn.unwrap();
        assert_eq!(syn[..6], scene.guest.mac, "to another's address");
        let (port, number) =
            (u16::from_be_bytes([syn[34], syn[35]]), u32::from_be_bytes(syn[38..42].try_into().unwrap()));
        let packet = tcp(guest, 8080, GATEWAY, port, SYN | 16, (77, number + 1));
        scene.say_ip(&packet);
    };
    let limit = std::time::Duration::from_secs(20);
    let (stream, ()) = tokio::time::timeout(limit, async { tokio::join!(connecting, spoken) }).await.unwrap();
    stream.expect("the host reaches the guest");
}

#[tokio::test]
async fn ctl_3_2_no_port_of_any_address_of_the_host_answers_a_guest() {
    let Some(mut scene) = Scene::set("a scan of the host").await else { return };
    let _listening = [
        tokio::net::TcpListener::bind("0.0.0.0:22").await.unwrap(),
        tokio::net::TcpListener::bind("10.0.0.1:8080").await.unwrap(),
        tokio::net::TcpListener::bind("203.0.113.1:443").await.unwrap(),
    ];
    let _udp = tokio::net::UdpSocket::bind("0.0.0.0:53").await.unwrap();
    let top: Vec<u16> =
        (1..=1024).chain([1194, 1434, 1701, 1900, 2049, 4500, 5353, 5683, 11_211, 27_015, 51_820]).collect();
    for host in [GATEWAY, Ipv4Addr::new(10, 1, 0, 1), UPLINK] {
        let before = scene.place.counter("inet", "to_host").await;
        for port in 1..=u16::MAX {
            let packet = tcp(scene.guest.ip, 40_000, host, port, SYN, (1, 0));
            scene.say_ip(&packet);
        }
        for port in &top {
            let packet = udp(scene.guest.ip, 40_000, host, *port, b"anyone?");
            scene.say_ip(&packet);
        }
        let heard = scene.guest.wire.received();
        assert!(heard.is_empty(), "{host} answers: {:?}", heard.first());
        let counted = scene.place.counter("inet", "to_host").await - before;
        assert_eq!(counted, u64::from(u16::MAX) + top.len() as u64, "{host}: not all of them arrived");
    }
}
