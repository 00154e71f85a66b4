//! What one host has taken on, for as long as the process lives.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::env::{CallCx, Clock};
use crate::error::{Error, ErrorKind, Result};
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, LeasePool, Outcome, Tombstone, resting};
use crate::types::{AgentSecret, Cid, Generation, Goal, Lease, MacAddr, VmId};

/// A [`Journal`] that forgets everything with its last clone.
#[derive(Clone, Debug)]
pub struct InMemoryJournal(Arc<Mutex<Tables>>);

impl InMemoryJournal {
    /// An empty one that lends from a pool, by a clock.
    #[must_use]
    pub fn new(pool: LeasePool, clock: Arc<dyn Clock>) -> Self {
        let uids = u64::from(pool.uid_first)..u64::from(pool.uid_first) + u64::from(pool.uid_count);
        Self(Arc::new(Mutex::new(Tables {
            rows: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            shorts: HashSet::new(),
            cids: Lender::of(std::iter::once(u64::from(Cid::FIRST.get())..u64::from(u32::MAX))),
            ips: Lender::of(pool.addresses.iter().map(|range| {
                let [first, last] = [range.first, range.last].map(|ip| u64::from(u32::from(ip)));
                first..last + 1
            })),
            uids: Lender::of(std::iter::once(uids)),
            rest: pool.rest,
            clock,
        })))
    }

    /// Held only between two awaits, never across one.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for InMemoryJournal {
    async fn accept(&self, _: &CallCx, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted> {
        self.lock().accept(entry, secret)
    }

    async fn row(&self, _: &CallCx, vm: VmId) -> Result<Option<JournalRow>> {
        Ok(self.lock().rows.get(&vm).cloned())
    }

    async fn rows(&self, _: &CallCx, after: Option<VmId>, limit: usize) -> Result<Vec<JournalRow>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tables = self.lock();
        Ok(tables.rows.range((after, Bound::Unbounded)).map(|(_, row)| row).take(limit).cloned().collect())
    }

    async fn provisioned(&self, _: &CallCx, vm: VmId, turn: u32) -> Result<()> {
        let mut tables = self.lock();
        let row = tables
            .rows
            .get_mut(&vm)
            .ok_or_else(|| Error::not_found(format!("this host has no vm {vm}")).with_reason("vm_unknown"))?;
        row.provisioned = row.provisioned.max(Some(turn));
        Ok(())
    }

    async fn settle(&self, _: &CallCx, vm: VmId, generation: Generation, outcome: &Outcome) -> Result<bool> {
        let mut tables = self.lock();
        let row = tables.rows.get_mut(&vm).filter(|row| row.entry.generation == generation);
        Ok(row.map(|row| row.outcome = Some(outcome.clone())).is_some())
    }

    async fn bury(&self, _: &CallCx, vm: VmId, generation: Generation) -> Result<()> {
        self.lock().bury(vm, generation)
    }

    async fn tombstone(&self, _: &CallCx, vm: VmId) -> Result<Option<Tombstone>> {
        Ok(self.lock().tombstones.get(&vm).map(|buried| buried.tombstone))
    }
}

#[derive(Debug)]
struct Tables {
    rows: BTreeMap<VmId, JournalRow>,
    tombstones: BTreeMap<VmId, Buried>,
    /// Of rows and tombstones.
    shorts: HashSet<String>,
    cids: Lender,
    ips: Lender,
    uids: Lender,
    /// How long what was freed is not lent again.
    rest: Duration,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy, Debug)]
struct Buried {
    generation: Generation,
    tombstone: Tombstone,
}

impl Tables {
    /// Whether the data disk of a VM that was destroyed can be had.
    fn kept(&self, from: VmId) -> Result<()> {
        if !self.tombstones.get(&from).is_some_and(|buried| buried.tombstone.keeps_data) {
            return Err(Error::not_found(format!("{from} left no data disk on this host")).with_reason("disk_unknown"));
        }
        if let Some(row) = self.rows.values().find(|row| row.entry.spec.data_from == Some(from)) {
            return Err(conflict("disk_in_use", format!("{} has the data disk of {from}", row.entry.vm)));
        }
        Ok(())
    }

    fn accept(&mut self, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted> {
        let absent = entry.goal.is_absent();
        if let Some(buried) = self.tombstones.get(&entry.vm) {
            let removes = entry.goal == Goal::ABSENT && buried.tombstone.keeps_data;
            if removes && entry.generation > buried.generation {
                self.kept(entry.vm)?;
                return self.take_on(entry, secret);
            }
            if absent {
                return Ok(Accepted::Gone);
            }
            let message = format!("the vm {} was destroyed; its id is never used again", entry.vm);
            return Err(conflict("gone", message));
        }
        if let Some(row) = self.rows.get_mut(&entry.vm) {
            if row.entry.generation > entry.generation {
                let message = format!("generation {} is older than what is known", entry.generation.0);
                return Err(conflict("stale_generation", message));
            }
            if row.entry.generation < entry.generation {
                row.entry = entry.clone();
                row.outcome = None;
            }
            return Ok(Accepted::Row(Box::new(row.clone())));
        }
        if absent {
            // Where its short name is another's, that one keeps it from ever getting a row.
            if self.shorts.insert(entry.vm.short()) {
                let buried = Buried { generation: entry.generation, tombstone: Tombstone { keeps_data: false } };
                self.tombstones.insert(entry.vm, buried);
            }
            return Ok(Accepted::Gone);
        }
        if self.shorts.contains(&entry.vm.short()) {
            let message = format!("the things of {} would have the names of another vm's; make a new id", entry.vm);
            return Err(Error::new(ErrorKind::AlreadyExists, message).with_reason("short_taken"));
        }
        if let Some(from) = entry.spec.data_from {
            self.kept(from)?;
        }
        self.take_on(entry, secret)
    }

    fn take_on(&mut self, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted> {
        let lease = self.lend(secret)?;
        let row = JournalRow { entry: entry.clone(), lease, provisioned: None, outcome: None };
        self.tombstones.remove(&entry.vm);
        self.shorts.insert(entry.vm.short());
        self.rows.insert(entry.vm, row.clone());
        Ok(Accepted::Row(Box::new(row)))
    }

    fn lend(&mut self, secret: &AgentSecret) -> Result<Lease> {
        let now = self.clock.monotonic();
        let next = |lender: &Lender| lender.next(now, self.rest);
        let [cid, ip, uid] = [next(&self.cids)?, next(&self.ips)?, next(&self.uids)?];
        let lease = Lease {
            cid: Cid::new(cid)?,
            ip: ip.into(),
            mac: MacAddr::local(u64::from(ip)),
            uid,
            secret: secret.clone(),
        };
        for lender in [&mut self.cids, &mut self.ips, &mut self.uids] {
            lender.take();
        }
        Ok(lease)
    }

    fn bury(&mut self, vm: VmId, generation: Generation) -> Result<()> {
        if self.tombstones.contains_key(&vm) {
            return Ok(());
        }
        let due = |row: &JournalRow| row.entry.goal.is_absent() && row.entry.generation == generation;
        if !self.rows.get(&vm).is_some_and(due) {
            let message = format!("{vm} is not to be absent at generation {}; read it and try again", generation.0);
            return Err(conflict("changed_meanwhile", message));
        }
        if let Some(row) = self.rows.remove(&vm) {
            let now = self.clock.monotonic();
            self.cids.free(row.lease.cid.get(), now);
            self.ips.free(row.lease.ip.into(), now);
            self.uids.free(row.lease.uid, now);
            let keeps = row.entry.goal != Goal::ABSENT && row.entry.spec.data.is_some();
            let own = row.entry.spec.data_from.is_none();
            let tombstone = Tombstone { keeps_data: keeps && own };
            self.tombstones.insert(vm, Buried { generation, tombstone });
            if let Some(buried) = row.entry.spec.data_from.and_then(|from| self.tombstones.get_mut(&from)) {
                buried.tombstone.keeps_data = keeps;
            }
        }
        Ok(())
    }
}

/// Lends the lowest that was never lent, and when there is no such one, the one freed longest ago, once it has rested.
#[derive(Debug)]
struct Lender {
    unused: VecDeque<std::ops::Range<u64>>,
    /// With the moments when they were freed.
    freed: VecDeque<(u32, Duration)>,
}

impl Lender {
    fn of(unused: impl IntoIterator<Item = std::ops::Range<u64>>) -> Self {
        let unused = unused.into_iter().filter(|range| !range.is_empty()).collect();
        Self { unused, freed: VecDeque::new() }
    }

    /// What [`Self::take`] would take.
    fn next(&self, now: Duration, rest: Duration) -> Result<u32> {
        let unused = self.unused.front().map(|range| range.start);
        if let Some(value) = unused.and_then(|value| u32::try_from(value).ok()) {
            return Ok(value);
        }
        match self.freed.front() {
            Some((value, at)) if *at + rest <= now => Ok(*value),
            Some((_, at)) => {
                let message = resting("addresses or users", (*at + rest).saturating_sub(now));
                Err(Error::new(ErrorKind::Exhausted, message).with_reason("lease_resting"))
            }
            None => {
                let message = "this host has no addresses or users left to lend; destroy a vm, or widen the pool";
                Err(Error::new(ErrorKind::Exhausted, message).with_reason("no_capacity"))
            }
        }
    }

    fn take(&mut self) {
        let Some(range) = self.unused.front_mut() else {
            self.freed.pop_front();
            return;
        };
        range.start += 1;
        if range.is_empty() {
            self.unused.pop_front();
        }
    }

    fn free(&mut self, value: u32, now: Duration) {
        self.freed.push_back((value, now));
    }
}

fn conflict(reason: &'static str, message: String) -> Error {
    Error::new(ErrorKind::Conflict, message).with_reason(reason)
}
