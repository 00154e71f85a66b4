//! Cases about ports.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::Env;
use crate::error::ErrorKind;
use crate::network::{Network, PortConfig};
use crate::testkit::cx;
use crate::testkit::drops::polled;
use crate::types::{MacAddr, PortPolicy, VmId};

/// The `number`-th port of the pool.
fn port(network: &(impl Network + ?Sized), number: u32) -> PortConfig {
    let first = u32::from(network.capabilities().pools[0].first);
    let id = VmId::from_bits(Env::seeded(u64::from(number)).ids.next_bits());
    let (ip, mac) = (Ipv4Addr::from(first + number), MacAddr::local(0x77_0000 + u64::from(number)));
    PortConfig { id, ip, mac, uid: 70_000 + number, policy: PortPolicy::default() }
}

pub async fn the_pool_is_a_range_and_does_not_change<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    let before = network.capabilities();
    assert!(!before.pools.is_empty() && before.pools.iter().all(|pool| pool.first <= pool.last), "{before:?}");
    network.ensure_port(&cx(), &port(&*network, 0)).await.unwrap();
    assert_eq!(network.capabilities(), before);
}

pub async fn nothing_is_known_of_a_port_that_never_was<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    let id = port(&*network, 0).id;
    network.ensure_absent(&cx(), id).await.unwrap();
    assert_eq!(network.observe(&cx(), id).await.unwrap(), None);
    assert_eq!(network.list(&cx()).await.unwrap(), []);
}

pub async fn a_port_asked_for_twice_is_there_once<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    let config = port(&*network, 0);
    network.ensure_port(&cx(), &config).await.unwrap();
    let once = network.observe(&cx(), config.id).await.unwrap();
    network.ensure_port(&cx(), &config).await.unwrap();
    assert_eq!(network.observe(&cx(), config.id).await.unwrap(), once);
    assert_eq!(network.list(&cx()).await.unwrap(), [config.id]);
    for _ in 0..2 {
        network.ensure_absent(&cx(), config.id).await.unwrap();
        assert_eq!(network.observe(&cx(), config.id).await.unwrap(), None);
        assert_eq!(network.list(&cx()).await.unwrap(), []);
    }
}

pub async fn what_the_guest_is_told_is_what_was_asked_for<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    let config = port(&*network, 1);
    network.ensure_port(&cx(), &config).await.unwrap();
    let nic = network.observe(&cx(), config.id).await.unwrap().and_then(|status| status.nic).expect("it is whole");
    assert_eq!((nic.mac, nic.net.mac, nic.net.ip), (config.mac, config.mac, config.ip));
    assert!((1..=32).contains(&nic.net.prefix), "{nic:?}");
    assert_ne!(nic.net.gateway, config.ip);
}

pub async fn a_port_with_other_addresses_is_refused_and_kept<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    let config = port(&*network, 0);
    network.ensure_port(&cx(), &config).await.unwrap();
    let before = network.observe(&cx(), config.id).await.unwrap();
    let (other_ip, other_mac) = (port(&*network, 1).ip, port(&*network, 1).mac);
    for other in [PortConfig { ip: other_ip, ..config.clone() }, PortConfig { mac: other_mac, ..config.clone() }] {
        let error = network.ensure_port(&cx(), &other).await.expect_err("it has other addresses");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}", error.chain());
        assert_eq!(network.observe(&cx(), config.id).await.unwrap(), before);
    }
}

pub async fn ports_of_several_vms_do_not_touch_each_other<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    let (one, other) = (port(&*network, 0), port(&*network, 1));
    network.ensure_port(&cx(), &one).await.unwrap();
    network.ensure_port(&cx(), &other).await.unwrap();
    let before = network.observe(&cx(), other.id).await.unwrap();
    network.ensure_absent(&cx(), one.id).await.unwrap();
    assert_eq!(network.observe(&cx(), other.id).await.unwrap(), before);
    assert_eq!(network.list(&cx()).await.unwrap(), [other.id]);
}

pub async fn a_dropped_port_is_finished_by_its_repeat_or_cleared<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    for polls in 0..6 {
        let config = port(&*network, polls);
        polled(network.ensure_port(&cx(), &config), polls as usize).await;
        let (seen, listed) =
            (network.observe(&cx(), config.id).await.unwrap(), network.list(&cx()).await.unwrap().contains(&config.id));
        assert_eq!(seen.is_some(), listed, "after {polls} polls");
        if polls % 2 == 0 {
            network.ensure_absent(&cx(), config.id).await.unwrap();
            assert_eq!(network.observe(&cx(), config.id).await.unwrap(), None, "after {polls} polls");
        }
        network.ensure_port(&cx(), &config).await.unwrap();
        let status = network.observe(&cx(), config.id).await.unwrap();
        assert!(status.is_some_and(|status| status.nic.is_some()), "after {polls} polls");
    }
}

pub async fn the_same_port_at_once_is_one_port<N: Network + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<N>,
    folder: &Path,
) {
    let network = make(folder.to_owned()).await;
    let (config, cx) = (port(&*network, 0), cx());
    let ask = || network.ensure_port(&cx, &config);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for result in [one, two, three] {
        result.unwrap();
    }
    assert_eq!(network.list(&cx).await.unwrap(), [config.id]);
}
