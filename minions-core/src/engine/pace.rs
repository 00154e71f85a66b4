//! How long to wait before the next try. Pure: time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use super::EngineConfig;

/// The failed tries of one VM's current goal, and the deaths of its monitor.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    failures: u32,
    /// The step that failed last. Others that work bring the goal no nearer: most of them clear up behind it.
    failing: Option<&'static str>,
    deaths: VecDeque<Duration>,
}

impl Pace {
    /// Which try comes next.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// These steps worked: whether that is the end of the failures, because the step that failed last is among them.
    pub fn succeeded(&mut self, steps: &[&'static str]) -> bool {
        let over = self.failing.is_none_or(|failing| steps.contains(&failing));
        if over {
            self.met();
        }
        over
    }

    /// The goal is met: old failures do not count.
    pub fn met(&mut self) {
        self.failures = 0;
        self.failing = None;
    }

    /// A step failed, or an observation where none is given: how long to wait, and how often that was in a row.
    pub fn failed(&mut self, config: &EngineConfig, step: Option<&'static str>, jitter: u64) -> (Duration, u32) {
        self.failures = self.failures.saturating_add(1);
        self.failing = step.or(self.failing);
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
        let waits: Vec<_> = (0..12).map(|_| pace.failed(&config, None, 0).0).collect();
        assert_eq!(waits[0], config.backoff);
        assert_eq!(waits[1], config.backoff * 2);
        assert_eq!(waits[11], config.backoff_max);
        assert!(pace.succeeded(&["vmm_start"]));
        assert_eq!(pace.failed(&config, None, 0), (config.backoff, 1));
    }

    #[test]
    fn clearing_up_behind_a_step_that_fails_is_no_success_of_it() {
        let config = EngineConfig::default();
        let mut pace = Pace::default();
        for tries in 1..=6 {
            assert_eq!(pace.failed(&config, Some("vmm_start"), 0).1, tries);
            assert!(!pace.succeeded(&["end_vmm"]));
            assert!(!pace.succeeded(&["vmm_process"]));
        }
        assert_eq!(pace.failed(&config, None, 0).1, 7);
        assert!(!pace.succeeded(&["vmm_process"]), "an observation that failed in between changes nothing");
        assert!(pace.succeeded(&["vmm_start"]));
        assert_eq!(pace.failed(&config, Some("vmm_start"), 0).1, 1);
        pace.met();
        assert_eq!(pace.failed(&config, Some("vmm_start"), 0).1, 1);
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
