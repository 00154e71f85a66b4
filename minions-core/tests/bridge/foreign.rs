//! What is not ours is refused with what to type, and never changed.

use minions_core::ErrorKind;
use minions_core::host::preflight::{Finding, FindingStatus};
use minions_core::network::Network;
use minions_core::network::bridge::{BridgeNetwork, preflight};
use minions_core::testkit::cx;
use minions_core::types::names;

use crate::guest::Wire;
use crate::place::{Place, port};

async fn finding(place: &Place, id: &str) -> Finding {
    let findings = preflight(&place.config()).await;
    findings.into_iter().find(|finding| finding.id == id && finding.status != FindingStatus::Ok).expect(id)
}

#[tokio::test]
async fn bad_28_a_bridge_of_somebody_elses_is_refused_with_the_line_to_type_and_not_changed() {
    let Some(place) = Place::enter("a foreign bridge") else { return };
    for (make, clear) in
        [("link add br0 type bridge", "link delete br0"), ("tuntap add br0 mode tap", "link delete br0")]
    {
        place.ip(make).await;
        place.ip("address add 10.0.0.1/16 dev br0").await;
        let before = place.ip("-d address show br0").await;
        let error = BridgeNetwork::open(place.config()).await.expect_err(make);
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Unsupported, Some("host_misconfigured")));
        assert!(error.message().contains("network.bridge"), "{}", error.chain());
        assert_eq!(place.ip("-d address show br0").await, before);
        assert_eq!(place.nft("list tables").await, "", "the firewall was changed all the same");
        assert!(finding(&place, "bridge").await.fix.is_some());
        place.ip(clear).await;
    }
    // The line that is told does what it says.
    place.ip("link add br0 type bridge").await;
    let fix = finding(&place, "bridge").await.fix.unwrap();
    assert!(fix.contains("ip link set dev br0 alias 'minions bridge'"), "{fix}");
    let words = ["link", "set", "dev", "br0", "alias", "minions bridge"];
    minions_core::host::command::Tool::new(&place.ip).args(words).run().await.unwrap();
    place.open().await;
}

#[tokio::test]
async fn bad_28_a_bridge_with_another_address_is_refused_with_the_line_to_type() {
    let Some(place) = Place::enter("a bridge with another address") else { return };
    drop(place.open().await);
    place.ip("address add 10.9.9.9/24 dev br0").await;
    let error = BridgeNetwork::open(place.config()).await.expect_err("it has another address");
    let fix = "ip address delete 10.9.9.9/24 dev br0";
    assert!(error.message().ends_with(fix), "{}", error.message());
    assert_eq!(finding(&place, "bridge").await.fix.as_deref(), Some(fix));
    place.ip(fix.strip_prefix("ip ").unwrap()).await;
    place.open().await;
}

#[tokio::test]
async fn bad_28_a_bridge_of_ours_that_nobody_configured_is_refused_since_no_rule_is_about_it() {
    let Some(place) = Place::enter("a bridge that is left") else { return };
    let mut config = place.config();
    config.shards = 2;
    drop(BridgeNetwork::open(config).await.unwrap());
    let error = BridgeNetwork::open(place.config()).await.expect_err("br1 is left");
    assert!(error.message().ends_with("ip link delete br1"), "{}", error.message());
    let fix = finding(&place, "bridge").await.fix.unwrap();
    place.ip(fix.strip_prefix("ip ").unwrap()).await;
    place.open().await;
}

#[tokio::test]
async fn bad_28_guests_in_a_network_that_the_host_is_in_are_refused() {
    let Some(place) = Place::enter("a pool over a LAN") else { return };
    let _lan = Wire::foreign("lan0");
    for (address, clash) in [("10.0.200.5/24", true), ("10.0.0.9/8", true), ("10.1.0.5/24", false)] {
        place.ip(&format!("address add {address} dev lan0")).await;
        place.ip("link set lan0 up").await;
        let opened = BridgeNetwork::open(place.config()).await;
        assert_eq!(opened.is_err(), clash, "{address}");
        if let Err(error) = opened {
            assert!(error.message().contains("network.subnet"), "{}", error.message());
            assert!(finding(&place, "address_pool").await.fix.unwrap().contains("network.subnet"));
        }
        place.ip(&format!("address delete {address} dev lan0")).await;
    }
}

#[tokio::test]
async fn an_interface_of_somebody_elses_under_a_ports_name_is_neither_used_nor_removed() {
    let Some(place) = Place::enter("a foreign interface") else { return };
    let network = place.open().await;
    let name = names::tap(port(5).id);
    let idle = Wire::foreign(name.as_str());
    idle.keep();
    drop(idle);
    let other = Wire::foreign("mnforeign0");
    let before = place.ip("-d link show type tun").await;
    let error = network.ensure_port(&cx(), &port(5)).await.expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(&format!("ip link delete {name}")), "{}", error.message());
    assert_eq!(network.observe(&cx(), port(5).id).await.unwrap(), None);
    assert_eq!(network.list(&cx()).await.unwrap(), []);
    network.ensure_absent(&cx(), port(5).id).await.unwrap();
    assert_eq!(place.ip("-d link show type tun").await, before);
    place.ip(&format!("link delete {name}")).await;
    network.ensure_port(&cx(), &port(5)).await.unwrap();
    drop(other);
}
