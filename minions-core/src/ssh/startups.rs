//! Who may knock at the same time. Pure: chance comes in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections that have not logged in yet.
#[derive(Clone, Debug)]
pub(super) struct Startups(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    most: usize,
    most_of_one: usize,
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// A place of one connection, until it has logged in or gone.
#[derive(Debug)]
pub(super) struct Place {
    startups: Startups,
    source: IpAddr,
}

impl Startups {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self(Arc::new(Mutex::new(Counts { most, most_of_one, all: 0, of: HashMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, or `None`. From the half of all places on, more and more are turned away by chance, which is
    /// 0 to 1: whoever fills the queue cannot keep everybody else out of it.
    pub(super) fn enter(&self, address: IpAddr, chance: f64) -> Option<Place> {
        let source = source(address);
        let mut counts = self.lock();
        let (all, of) = (counts.all, counts.of.get(&source).copied().unwrap_or(0));
        let half = counts.most / 2;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let crowd = all.saturating_sub(half) as f64 / counts.most.saturating_sub(half).max(1) as f64;
        if all >= counts.most || of >= counts.most_of_one || chance < crowd {
            return None;
        }
        counts.all += 1;
        *counts.of.entry(source).or_default() += 1;
        Some(Place { startups: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.startups.lock();
        counts.all -= 1;
        if let Some(of) = counts.of.get_mut(&self.source) {
            *of -= 1;
            if *of == 0 {
                counts.of.remove(&self.source);
            }
        }
    }
}

/// One person has one address, or a network of 64 bits.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => IpAddr::V6((u128::from(six) >> 64 << 64).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: f64 = 1.0;

    #[test]
    fn ctl_5_2_one_source_has_its_share_and_others_have_theirs() {
        let startups = Startups::new(100, 3);
        let ip = |text: &str| text.parse().unwrap();
        let held: Vec<_> = (0..5).filter_map(|_| startups.enter(ip("192.0.2.1"), NEVER)).collect();
        assert_eq!(held.len(), 3);
        assert!(startups.enter(ip("192.0.2.2"), NEVER).is_some());
        assert!(startups.enter(ip("::ffff:192.0.2.1"), NEVER).is_none(), "the same, written otherwise");
        let six: Vec<_> = (0..5).filter_map(|n| startups.enter(ip(&format!("2001:db8::{n}")), NEVER)).collect();
        assert_eq!(six.len(), 3, "a network of 64 bits is one source");
        assert!(startups.enter(ip("2001:db8:0:1::1"), NEVER).is_some());
        drop(held);
        assert!(startups.enter(ip("192.0.2.1"), NEVER).is_some());
    }

    #[test]
    fn ctl_5_2_the_fuller_it_is_the_more_are_turned_away_by_chance() {
        let startups = Startups::new(10, 100);
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let held: Vec<_> = (0..5).filter_map(|last| startups.enter(ip(last), 0.0)).collect();
        assert_eq!(held.len(), 5, "up to the half nobody is");
        let sixth = startups.enter(ip(6), 0.0).unwrap();
        assert!(startups.enter(ip(7), 0.1).is_none());
        let seventh = startups.enter(ip(7), 0.3).unwrap();
        let rest: Vec<_> = (8..20).filter_map(|last| startups.enter(ip(last), NEVER)).collect();
        assert_eq!(rest.len(), 3, "no more than all");
        drop((sixth, seventh));
    }
}
