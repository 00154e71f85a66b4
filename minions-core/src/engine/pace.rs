//! How long to wait before the next try. Pure: time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use super::EngineConfig;

/// The failed tries of one VM's current goal, and the deaths of its monitor.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    failures: u32,
    deaths: VecDeque<Duration>,
}

impl Pace {
    /// Which try comes next.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// A stage worked.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A stage failed: how long to wait, and how often it has failed in a row.
    pub fn failed(&mut self, config: &EngineConfig, jitter: u64) -> (Duration, u32) {
        self.failures = self.failures.saturating_add(1);
        let doubled = config.backoff.saturating_mul(1 << (self.failures - 1).min(16));
        let wait = doubled.min(config.backoff_max);
        // Up to a quarter more, so that VMs that failed together do not come back together.
        let extra = wait.as_millis() as u64 / 4;
        (wait + Duration::from_millis(if extra == 0 { 0 } else { jitter % extra }), self.failures)
    }

    /// The monitor died at this moment: whether that was once too often.
    pub fn died(&mut self, config: &EngineConfig, now: Duration) -> bool {
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|first| now.saturating_sub(*first) > config.crash_window) {
            self.deaths.pop_front();
        }
        self.deaths.len() >= config.crash_limit
    }

    /// Something else is asked for: old failures do not count.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_limit_and_start_over_after_a_success() {
        let config = EngineConfig::default();
        let mut pace = Pace::default();
        let waits: Vec<_> = (0..12).map(|_| pace.failed(&config, 0).0).collect();
        assert_eq!(waits[0], config.backoff);
        assert_eq!(waits[1], config.backoff * 2);
        assert_eq!(waits[11], config.backoff_max);
        pace.succeeded();
        assert_eq!(pace.failed(&config, 0), (config.backoff, 1));
    }

    #[test]
    fn ten_deaths_in_a_minute_are_a_crash_loop_and_ten_in_an_hour_are_not() {
        let config = EngineConfig::default();
        let mut fast = Pace::default();
        assert!((0..9).all(|second| !fast.died(&config, Duration::from_secs(second))));
        assert!(fast.died(&config, Duration::from_secs(9)));
        let mut slow = Pace::default();
        assert!((0..20).all(|minute| !slow.died(&config, Duration::from_secs(minute * 360))));
    }
}
