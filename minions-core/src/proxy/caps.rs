//! How much one source, one VM and all of them together may have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::route::Load;

/// Connections per source: an address, or the /64 that an IPv6 address is in.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<HashMap<IpAddr, usize>>);

/// A source's place for one connection, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    sources: Arc<Sources>,
    key: IpAddr,
}

/// Whom an address counts for.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

impl Sources {
    /// A place for one more, unless the source has as many as it may.
    pub fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let key = source(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { sources: self.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// A VM's place for one request or tunnel, until dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Load>);

impl Permit {
    pub fn of(load: &Arc<Load>, most: usize) -> Option<Self> {
        // Taken first: dropped again where it was one too many.
        let permit = Self(load.clone());
        (load.busy.fetch_add(1, Ordering::AcqRel) < most).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_places_and_no_more_and_gives_them_back() {
        let sources = Arc::new(Sources::default());
        let all = |text: &str| sources.enter(text.parse().unwrap(), 2);
        let (one, two) = (all("2001:db8::1"), all("2001:db8::2"));
        assert!(one.is_some() && two.is_some() && all("2001:db8::3").is_none(), "a /64 is one source");
        assert!(all("2001:db8:0:1::1").is_some() && all("192.0.2.1").is_some());
        drop(one);
        assert!(all("2001:db8::3").is_some());
        drop(two);
        assert!(sources.0.lock().unwrap().is_empty(), "nothing is left of who has gone");
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), source("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_vm_has_its_places_and_no_more_and_gives_them_back() {
        let load = Arc::new(Load::default());
        let one = Permit::of(&load, 1);
        assert!(one.is_some() && Permit::of(&load, 1).is_none());
        drop(one);
        assert!(Permit::of(&load, 1).is_some());
        assert_eq!(load.busy.load(Ordering::Acquire), 0);
    }
}
