//! Who has failed to log in too often, and waits. Pure: the time comes in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::startups::source;

/// Sources of one age that are remembered; there are two ages.
const MOST: usize = 16_384;

/// After this long without a failure a source is as if it had never failed.
const FORGET: Duration = Duration::from_secs(1_800);

/// The first penalty. Each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    last: Instant,
    until: Instant,
}

/// Sources whose connections ended without a login. Bounded: of more sources than fit those are forgotten first that have not
/// failed for longest, in two ages, so that no flood of new ones costs a search.
#[derive(Debug)]
pub(super) struct Penalties {
    free: u32,
    most: Duration,
    ages: Mutex<[HashMap<IpAddr, Record>; 2]>,
}

impl Penalties {
    /// So many failures have no consequence; no penalty is longer than `most`.
    pub(super) fn new(free: u32, most: Duration) -> Self {
        Self { free, most, ages: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, [HashMap<IpAddr, Record>; 2]> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a source waits.
    pub(super) fn holds(&self, address: IpAddr, now: Instant) -> bool {
        let (source, ages) = (source(address), self.lock());
        ages.iter().find_map(|age| age.get(&source)).is_some_and(|record| now < record.until)
    }

    /// A connection ended, and nobody had logged in.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let source = source(address);
        let mut ages = self.lock();
        let [young, old] = &mut *ages;
        let known = young.remove(&source).or_else(|| old.remove(&source));
        let known = known.filter(|record| now.duration_since(record.last) < FORGET);
        let failures = known.map_or(0, |record| record.failures).saturating_add(1);
        let until = match failures.checked_sub(self.free + 1) {
            Some(beyond) => now + FIRST.saturating_mul(1 << beyond.min(20)).min(self.most),
            None => now,
        };
        if young.len() >= MOST {
            *old = std::mem::take(young);
        }
        young.insert(source, Record { failures, last: now, until });
    }

    /// Somebody has logged in from there.
    pub(super) fn forgive(&self, address: IpAddr) {
        let source = source(address);
        for age in &mut *self.lock() {
            age.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST_WAIT: Duration = Duration::from_secs(60);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How long a source waits from now on, in seconds.
    fn wait(penalties: &Penalties, address: IpAddr, now: Instant) -> u64 {
        (0..3_600).find(|second| !penalties.holds(address, now + Duration::from_secs(*second))).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_5_2_who_fails_again_and_again_waits_longer_and_longer_and_not_for_ever() {
        let (penalties, mut now) = (Penalties::new(3, MOST_WAIT), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            penalties.failed(ip("192.0.2.1"), now);
            let seconds = wait(&penalties, ip("::ffff:192.0.2.1"), now);
            waits.push(seconds);
            now += Duration::from_secs(seconds);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(!penalties.holds(ip("192.0.2.2"), now - Duration::from_secs(1)), "nobody else waits");
        penalties.failed(ip("192.0.2.1"), now + FORGET);
        assert!(!penalties.holds(ip("192.0.2.1"), now + FORGET), "what was long ago is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_5_2_who_logs_in_rightly_in_between_never_waits() {
        let (penalties, now) = (Penalties::new(3, MOST_WAIT), Instant::now());
        for _ in 0..20 {
            for _ in 0..3 {
                penalties.failed(ip("192.0.2.1"), now);
                assert!(!penalties.holds(ip("192.0.2.1"), now));
            }
            penalties.forgive(ip("192.0.2.1"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_5_2_a_network_of_64_bits_is_one_source() {
        let (penalties, now) = (Penalties::new(3, MOST_WAIT), Instant::now());
        (0..4).for_each(|last| penalties.failed(ip(&format!("2001:db8::{last}")), now));
        assert!(penalties.holds(ip("2001:db8::ffff"), now));
        assert!(!penalties.holds(ip("2001:db8:0:1::1"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn load_4_a_flood_of_sources_is_remembered_in_bounded_memory_and_does_not_free_who_goes_on() {
        let (penalties, now) = (Penalties::new(3, MOST_WAIT), Instant::now());
        for number in 0..200_000_u32 {
            penalties.failed(IpAddr::from(number.to_be_bytes()), now);
            if number % 10_000 == 0 {
                penalties.failed(ip("2001:db8::1"), now);
            }
        }
        assert!(penalties.holds(ip("2001:db8::1"), now));
        assert!(penalties.lock().iter().map(HashMap::len).sum::<usize>() <= 2 * MOST);
    }
}
