//! Makes ports. What pins a port stands before it comes up; a port that was not finished goes with the file that made it.

use std::io;

use rustix::io::Errno;

use super::config::merged;
use super::elements::{self, Addition, Set};
use super::error::BridgeError;
use super::link;
use super::record::{Pin, Record};
use super::tap::Tap;
use super::wire::Message;
use super::worker::{Found, Worker};
use crate::network::PortConfig;
use crate::types::{Egress, IfName, names};

/// Ranges that one port may reach.
const MOST_RANGES: usize = 256;
/// So many bytes more than its rate allows may come at once: a tenth of a second, and what a guest sends in one piece.
const LEAST_BURST: u64 = 128 << 10;

/// A port on its way.
struct Work<'a> {
    config: &'a PortConfig,
    record: Record,
    tap: IfName,
    bridge: u32,
    /// The interface, where it was made just now.
    made: Option<Tap>,
    /// What was there already.
    found: Found,
}

impl Worker {
    /// Ports are there, pinned and up.
    pub fn ensure(&mut self, configs: &[PortConfig]) -> Vec<Result<(), BridgeError>> {
        let mut results: Vec<Result<(), BridgeError>> = Vec::new();
        let mut works: Vec<(usize, Work<'_>)> = Vec::new();
        for (at, config) in configs.iter().enumerate() {
            match self.prepare(config) {
                Ok(None) => results.push(Ok(())),
                Ok(Some(work)) => {
                    results.push(Ok(()));
                    works.push((at, work));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        let pinned = self.pin(works.iter().map(|(_, work)| work));
        match pinned {
            Ok(()) => {
                for (at, result) in self.raise(works) {
                    results[at] = result;
                }
            }
            // One of them spoils it for all: each by itself then, unless it was about none of them.
            Err(BridgeError::NoTable) => {
                self.close(works.iter().map(|(_, work)| work));
                for (at, _) in works {
                    results[at] = Err(BridgeError::NoTable);
                }
            }
            Err(error) => match works.len() {
                0 | 1 => {
                    if let Some((at, _)) = works.pop() {
                        results[at] = Err(error);
                    }
                }
                _ => {
                    let again: Vec<usize> = works.into_iter().map(|(at, _)| at).collect();
                    for at in again {
                        results[at] = self.ensure(&configs[at..=at]).pop().unwrap_or(Err(BridgeError::Ended));
                    }
                }
            },
        }
        results
    }

    /// Finds out what is to be done; `None` where the port is as it shall be.
    fn prepare<'a>(&mut self, config: &'a PortConfig) -> Result<Option<Work<'a>>, BridgeError> {
        let shard = self.config.shard_of(config.ip)?;
        if ranges(config).len() > MOST_RANGES {
            return Err(BridgeError::TooMany(MOST_RANGES));
        }
        let (record, tap) = (Record::of(config), names::tap(config.id));
        if let Some(other) = self.owner(config.ip).filter(|other| *other != config.id)
            && self.remains(other)?
        {
            return Err(BridgeError::Taken { ip: config.ip, other });
        }
        // What is known of it may be gone, or of another time.
        let left = self.knows(config.id).is_some();
        let made = match Tap::make(&tap) {
            Ok(made) => Some(made),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => None,
            Err(error) => return Err(BridgeError::io("make a TAP interface")(error)),
        };
        let mut work = Work { config, record, tap, bridge: 0, made, found: Found::default() };
        if work.made.is_none() || left {
            // The interface that was made just now bears no label yet.
            work.found = self.find(&[config.id])?.pop().unwrap_or_default();
            let have = work
                .found
                .link
                .as_ref()
                .map_or(work.found.pin.filter(|_| !work.found.elements.is_empty()), |(_, have)| Some(have.pin));
            if have.is_some_and(|pin| pin != record.pin) {
                return Err(BridgeError::Differs(config.id));
            }
        }
        if work.made.is_none() {
            if work.found.foreign || work.found.link.is_none() {
                return Err(BridgeError::ForeignPort { name: work.tap.to_string() });
            }
            let same = work.found.link.as_ref().is_some_and(|(_, have)| *have == record);
            if same && self.whole(&work.found) && self.sealed()? {
                self.learn(record.pin);
                self.settle(config);
                return Ok(None);
            }
            if work.found.link.as_ref().is_some_and(|(_, have)| have.uid != record.uid) {
                let claimed = Tap::claim(&work.tap).and_then(|tap| tap.own(record.uid));
                claimed.map_err(|error| in_use(error, config, "give a port to its user"))?;
            }
        } else if let Some(made) = &work.made {
            made.own(record.uid).map_err(BridgeError::io("give a port to its user"))?;
        }
        work.bridge = self.bridge(shard)?;
        Ok(Some(work))
    }

    fn remains(&mut self, id: crate::types::VmId) -> Result<bool, BridgeError> {
        let found = self.find(&[id])?.pop().unwrap_or_default();
        let remains = found.link.is_some() || !found.elements.is_empty();
        if !remains {
            self.forget(id);
        }
        Ok(remains)
    }

    /// The elements of all of them, in one transaction.
    fn pin<'a>(&mut self, works: impl Iterator<Item = &'a Work<'a>>) -> Result<(), BridgeError> {
        let (mut messages, mut new) = (Vec::new(), true);
        for work in works {
            new &= work.found.elements.is_empty();
            self.learn(work.record.pin);
            messages.append(&mut self.stale(work)?);
            messages.extend(additions(work.config, &work.tap).iter().map(Addition::message));
        }
        self.transact(&messages, new)?;
        match messages.is_empty() || self.sealed()? {
            true => Ok(()),
            false => Err(BridgeError::NoTable),
        }
    }

    /// Takes away what is left of another policy.
    fn stale(&mut self, work: &Work<'_>) -> Result<Vec<Message>, BridgeError> {
        let pin = work.record.pin;
        let remove = |set: &Set| elements::remove(*set, &set.key(&work.tap, &pin), None);
        let of_policy = |set: &&Set| matches!(set, Set::RateUp | Set::RateDown | Set::Only);
        let mut messages: Vec<Message> = work.found.elements.iter().filter(of_policy).map(remove).collect();
        if work.found.elements.contains(&Set::Only) {
            messages.append(&mut self.ranges_of(&[pin])?);
        }
        Ok(messages)
    }

    /// Takes away every range that these may reach.
    pub(super) fn ranges_of(&mut self, pins: &[Pin]) -> Result<Vec<Message>, BridgeError> {
        let elements = self.elements(Set::Allow)?;
        let theirs = elements.iter().filter(|element| element.pin.is_some_and(|pin| pins.contains(&pin)));
        Ok(theirs.map(|element| elements::remove(Set::Allow, &element.key, element.end.as_deref())).collect())
    }

    /// What is pinned comes up.
    fn raise(&mut self, works: Vec<(usize, Work<'_>)>) -> Vec<(usize, Result<(), BridgeError>)> {
        let (mut messages, mut whose, mut results) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = Vec::new();
        for (at, work) in works {
            let index = match &work.found.link {
                Some((link, _)) => Ok(link.index),
                None => self.route.index_of(work.tap.as_str()),
            };
            match index {
                Ok(index) => {
                    let steps = steps(&work, index, self.ipv6);
                    whose.extend(std::iter::repeat_n(left.len(), steps.len()));
                    messages.extend(steps);
                    left.push((at, work, Ok(())));
                }
                Err(error) => results.push((at, Err(BridgeError::io("look at a port")(error)))),
            }
        }
        match self.route.ask(&messages) {
            Ok(answers) => {
                for (whose, answer) in whose.into_iter().zip(answers) {
                    if let (Some(error), Some((_, _, result))) = (answer.error, left.get_mut(whose))
                        && result.is_ok()
                    {
                        *result = Err(BridgeError::io("bring up a port")(error.into()));
                    }
                }
            }
            Err(error) => {
                let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
                for (_, _, result) in &mut left {
                    *result = Err(BridgeError::io("bring up a port")(errno.into()));
                }
            }
        }
        for (at, work, result) in left {
            if result.is_err() {
                // The bridge may be another one by now.
                self.bridges.fill(None);
            }
            let kept = match &work.made {
                // Without its file it goes as it came.
                Some(made) => result.and_then(|()| made.keep().map_err(BridgeError::io("keep a port"))),
                None => result,
            };
            if kept.is_ok() {
                self.settle(work.config);
            }
            results.push((at, kept));
        }
        results
    }

    /// Nothing tells any more what may pass: those that are there go down.
    fn close<'a>(&mut self, works: impl Iterator<Item = &'a Work<'a>>) {
        let messages: Vec<Message> =
            works.filter_map(|work| work.found.link.as_ref().map(|(link, _)| link::down(link.index))).collect();
        if let Err(error) = self.route.ask(&messages) {
            tracing::error!(%error, "ports without a firewall cannot be closed");
        }
    }
}

fn in_use(error: io::Error, config: &PortConfig, what: &'static str) -> BridgeError {
    match error.raw_os_error() {
        Some(libc::EBUSY) => BridgeError::InUse(config.id),
        _ => BridgeError::io(what)(error),
    }
}

/// One way to a port that is up: labelled and in its bridge, fenced, known to the host, and only then up.
fn steps(work: &Work<'_>, index: u32, ipv6: bool) -> [Message; 5] {
    [
        link::join(index, work.bridge, &work.record.label(), ipv6),
        link::fence(index),
        link::behind(index, work.config.mac),
        link::known(work.bridge, work.config.ip, work.config.mac),
        link::up(index),
    ]
}

fn ranges(config: &PortConfig) -> Vec<crate::types::Ipv4Cidr> {
    match &config.policy.egress {
        Egress::Public => Vec::new(),
        Egress::Only(list) => merged(list),
    }
}

/// Every element of a port.
pub(super) fn additions(config: &PortConfig, tap: &IfName) -> Vec<Addition> {
    let pin = Pin::of(config);
    let mut all: Vec<Addition> = Set::PIN.into_iter().map(|set| Addition::keyed(set, tap, &pin)).collect();
    if let Some(rate) = config.policy.rate {
        // No rate at all would be a limit of nothing, which the firewall does not know.
        let rate = rate.0.max(1);
        let burst = u32::try_from((rate / 10).max(LEAST_BURST)).unwrap_or(u32::MAX);
        for set in [Set::RateUp, Set::RateDown] {
            all.push(Addition { limit: Some((rate, burst)), ..Addition::keyed(set, tap, &pin) });
        }
    }
    if matches!(config.policy.egress, Egress::Only(_)) {
        all.push(Addition::keyed(Set::Only, tap, &pin));
    }
    for range in ranges(config) {
        let (key, end) = elements::way(config.ip, range.first(), range.last());
        all.push(Addition { set: Set::Allow, key, end: Some(end), pin, limit: None });
    }
    all
}
