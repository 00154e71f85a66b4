//! Many at once.

use std::time::Duration;

use minions_core::network::Network;
use minions_core::testkit::cx;

use crate::guest::Wire;
use crate::place::{Place, port};

/// Of what `minions-core` has to hold: half a bridge.
const MANY: u16 = 500;

async fn all<T>(work: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T>
where
    T: Send + 'static,
{
    let tasks: Vec<_> = work.into_iter().map(|work| tokio::spawn(work)).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

#[tokio::test]
async fn five_hundred_ports_come_and_go_in_few_transactions() {
    let Some(place) = Place::enter("five hundred ports") else { return };
    let network = place.open().await;
    let bystander = Wire::foreign("bystander0");
    let ports: Vec<_> = (10..10 + MANY).map(port).collect();
    let before = network.sent().await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "a figure for people, nothing depends on it")]
    let now = std::time::Instant::now;
    let since = now();
    let work = ports.iter().map(|port| {
        let (network, port) = (network.clone(), port.clone());
        async move { network.ensure_port(&cx(), &port).await }
    });
    for result in all(work.collect()).await {
        result.unwrap();
    }
    let (attached, made) = (since.elapsed(), network.sent().await.unwrap());
    assert_eq!(network.list(&cx()).await.unwrap().len(), usize::from(MANY));
    for port in &ports {
        assert!(network.observe(&cx(), port.id).await.unwrap().unwrap().nic.is_some());
    }
    let looked = network.sent().await.unwrap();
    let since = now();
    let ids: Vec<_> = ports.iter().map(|port| port.id).collect();
    let work = ids.iter().map(|id| {
        let (network, id) = (network.clone(), *id);
        async move { network.ensure_absent(&cx(), id).await }
    });
    for result in all(work.collect()).await {
        result.unwrap();
    }
    let (removed, gone) = (since.elapsed(), network.sent().await.unwrap());
    assert_eq!(network.list(&cx()).await.unwrap(), []);
    let links = place.ip("-o link show type tun").await;
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.contains("bystander0"));
    drop(bystander);
    assert_eq!(place.census().await, "");
    let creating = (made.filter - before.filter, gone.filter - looked.filter);
    println!(
        "{MANY} ports: attached in {attached:?} with {} sends to rtnetlink and {} transactions of the firewall; \
         removed in {removed:?} with {} and {}",
        made.route - before.route,
        creating.0,
        gone.route - looked.route,
        creating.1,
    );
    assert!(creating.0 <= 10 && creating.1 <= 10, "concurrent calls are not done together: {creating:?}");
}

#[tokio::test]
async fn one_port_takes_one_send_to_rtnetlink_and_one_transaction_of_the_firewall() {
    let Some(place) = Place::enter("one port's transactions") else { return };
    let network = place.open().await;
    for number in 5..15 {
        let before = network.sent().await.unwrap();
        network.ensure_port(&cx(), &port(number)).await.unwrap();
        let after = network.sent().await.unwrap();
        assert_eq!((after.route - before.route, after.filter - before.filter), (1, 1));
    }
    // The cost does not grow with what is there: no list is read for one port.
    let before = network.sent().await.unwrap();
    network.ensure_absent(&cx(), port(5).id).await.unwrap();
    assert_eq!(network.sent().await.unwrap().filter - before.filter, 1);
    assert!(tokio::time::timeout(Duration::from_secs(60), network.list(&cx())).await.is_ok());
}
