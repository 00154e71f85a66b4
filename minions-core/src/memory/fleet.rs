//! What people asked for, for as long as the process lives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::events::Events;
use super::people::Register;
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::store::fleet::{
    Event, EventQuery, FleetChange, FleetStore, Guard, OperationRow, OperationState, Owner, VmQuery, VmRow, Write,
};
use crate::store::people::{AuditRow, KeyRow, People, PeopleWrite, TokenRow, UserRow};
use crate::store::retention::{Prune, Pruned};
use crate::types::{EventSeq, KeyPrint, OperationId, TokenHash, UnixMillis, VmId, VmName};

/// A [`FleetStore`] that forgets everything with its last clone.
#[derive(Clone, Debug, Default)]
pub struct InMemoryFleet(Arc<Mutex<Tables>>);

impl InMemoryFleet {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Held only between two awaits, never across one.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl FleetStore for InMemoryFleet {
    async fn commit(&self, _: &CallCx, change: &FleetChange) -> Result<EventSeq> {
        self.lock().commit(change)
    }

    async fn vm(&self, _: &CallCx, id: VmId) -> Result<Option<VmRow>> {
        Ok(self.lock().vms.get(&id).cloned())
    }

    async fn vm_by_name(&self, _: &CallCx, name: &VmName) -> Result<Option<VmRow>> {
        let tables = self.lock();
        Ok(tables.live_names.get(name).and_then(|id| tables.vms.get(id)).cloned())
    }

    async fn vms(&self, _: &CallCx, query: &VmQuery) -> Result<Vec<VmRow>> {
        let wanted = |row: &&VmRow| {
            query.owner.as_ref().is_none_or(|owner| *owner == row.owner)
                && (!query.unsettled || row.settled < row.generation)
                && (query.deleted || query.kept || row.deleted.is_none())
                && (!query.kept || row.kept)
        };
        let after = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let tables = self.lock();
        let rows = tables.vms.range((after, Bound::Unbounded)).map(|(_, row)| row);
        Ok(rows.filter(wanted).take(query.limit).cloned().collect())
    }

    async fn operation(&self, _: &CallCx, id: OperationId) -> Result<Option<OperationRow>> {
        Ok(self.lock().operations.get(&id).map(|(_, row)| row.clone()))
    }

    async fn operation_by_key(&self, _: &CallCx, owner: &Owner, key: &str) -> Result<Option<OperationRow>> {
        let tables = self.lock();
        let id = tables.keys.get(&(owner.clone(), key.to_owned()));
        Ok(id.and_then(|id| tables.operations.get(id)).map(|(_, row)| row.clone()))
    }

    async fn pending_operations(&self, _: &CallCx, vm: VmId) -> Result<Vec<OperationRow>> {
        let tables = self.lock();
        let pending = tables.pending.range((vm, 0)..=(vm, u64::MAX)).filter_map(|(_, id)| tables.operations.get(id));
        Ok(pending.map(|(_, row)| row.clone()).collect())
    }

    async fn events(&self, _: &CallCx, query: &EventQuery) -> Result<Vec<Event>> {
        self.lock().events.after(query)
    }

    async fn last_event(&self, _: &CallCx) -> Result<EventSeq> {
        Ok(self.lock().events.last())
    }

    async fn prune(&self, _: &CallCx, prune: &Prune) -> Result<Pruned> {
        Ok(self.lock().prune(prune))
    }
}

#[async_trait]
impl People for InMemoryFleet {
    async fn user(&self, _: &CallCx, name: &Owner) -> Result<Option<UserRow>> {
        Ok(self.lock().people.users.get(name).cloned())
    }

    async fn users(&self, _: &CallCx, after: Option<&Owner>, limit: usize) -> Result<Vec<UserRow>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tables = self.lock();
        Ok(tables.people.users.range((after, Bound::Unbounded)).take(limit).map(|(_, row)| row.clone()).collect())
    }

    async fn key(&self, _: &CallCx, print: &KeyPrint) -> Result<Option<(KeyRow, UserRow)>> {
        let Register { users, keys, .. } = &self.lock().people;
        Ok(keys.get(print).and_then(|row| Some((row.clone(), users.get(&row.user)?.clone()))))
    }

    async fn keys(&self, _: &CallCx, user: &Owner) -> Result<Vec<KeyRow>> {
        let tables = self.lock();
        let mut rows: Vec<_> = tables.people.keys.values().filter(|row| row.user == *user).cloned().collect();
        rows.sort_by_key(|row| (row.created, row.print));
        Ok(rows)
    }

    async fn token(&self, _: &CallCx, hash: &TokenHash) -> Result<Option<(TokenRow, UserRow)>> {
        let Register { users, tokens, .. } = &self.lock().people;
        Ok(tokens.get(hash).and_then(|row| Some((row.clone(), users.get(&row.user)?.clone()))))
    }

    async fn tokens(&self, _: &CallCx, user: &Owner) -> Result<Vec<TokenRow>> {
        let tables = self.lock();
        let mut rows: Vec<_> = tables.people.tokens.values().filter(|row| row.user == *user).cloned().collect();
        rows.sort_by_key(|row| (row.created, row.id));
        Ok(rows)
    }

    async fn audit(&self, _: &CallCx, after: u64, limit: usize) -> Result<Vec<AuditRow>> {
        Ok(self.lock().people.audit.iter().filter(|row| row.seq > after).take(limit).cloned().collect())
    }
}

/// What an owner has, tombstones aside.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    vms: u128,
    disk: u128,
    memory: u128,
}

#[derive(Debug, Default)]
struct Tables {
    vms: BTreeMap<VmId, VmRow>,
    /// With the order of their acceptance.
    operations: BTreeMap<OperationId, (u64, OperationRow)>,
    accepted: u64,
    events: Events,
    people: Register,
    // What follows is derived from the above, and kept by `put_vm` and `put_operation` alone.
    live_names: HashMap<VmName, VmId>,
    dead_names: HashMap<VmName, BTreeSet<VmId>>,
    usage: HashMap<Owner, Usage>,
    keys: HashMap<(Owner, String), OperationId>,
    pending: BTreeMap<(VmId, u64), OperationId>,
    /// Operations that ended and have a key, by the time of their end.
    keyed: BTreeSet<(UnixMillis, OperationId)>,
    /// Operations that ended and have none, in the order of their acceptance.
    free: BTreeMap<u64, OperationId>,
}

/// What a write replaced.
enum Before {
    Vm(VmId, Option<Box<VmRow>>),
    Operation(OperationId, Option<Box<(u64, OperationRow)>>),
}

impl Tables {
    fn commit(&mut self, change: &FleetChange) -> Result<EventSeq> {
        for guard in &change.guards {
            self.check_before(guard)?;
        }
        let mut done = Vec::new();
        let people = (!change.people.is_empty()).then(|| self.people.clone());
        let result = self
            .write_all(&change.writes, &mut done)
            .and_then(|()| self.write_people(&change.people))
            .and_then(|()| change.guards.iter().try_for_each(|guard| self.check_after(guard)));
        if let Err(error) = result {
            for before in done.into_iter().rev() {
                match before {
                    Before::Vm(id, row) => drop(self.put_vm(id, row.map(|row| *row))),
                    Before::Operation(id, row) => drop(self.put_operation(id, row.map(|row| *row))),
                }
            }
            self.people = people.unwrap_or_else(|| std::mem::take(&mut self.people));
            return Err(error);
        }
        self.events.extend(&change.events);
        self.people.append(&change.audit)?;
        Ok(self.events.last())
    }

    fn prune(&mut self, prune: &Prune) -> Pruned {
        let events = self.events.prune(prune);
        let lapsed = self.keyed.iter().take_while(|(ended, _)| *ended < prune.keys_before);
        let lapsed: Vec<_> = lapsed.take(prune.limit).map(|(_, id)| *id).collect();
        for id in &lapsed {
            if let Some((place, row)) = self.operations.get(id).cloned() {
                self.put_operation(*id, Some((place, OperationRow { idempotency: None, ..row })));
            }
        }
        let crowd = self.accepted.saturating_sub(prune.operations_most);
        let old = |id| {
            let ended = self.operations.get(id).and_then(|(_, row)| row.ended);
            ended.is_some_and(|ended| ended < prune.operations_before)
        };
        let gone = self.free.iter().take_while(|(place, id)| **place <= crowd || old(*id));
        let gone: Vec<_> = gone.take(prune.limit).map(|(_, id)| *id).collect();
        for id in &gone {
            self.put_operation(*id, None);
        }
        let (keys, operations) = (lapsed.len(), gone.len());
        Pruned { events, keys, operations, more: [events, keys, operations].contains(&prune.limit) }
    }

    fn check_before(&self, guard: &Guard) -> Result<()> {
        match guard {
            Guard::Unchanged { vm, generation, settled } => {
                let found = self.vms.get(vm).map(|row| (row.generation, row.settled));
                if found != Some((*generation, *settled)) {
                    let message = "the vm was changed meanwhile; read it and try again";
                    return Err(Error::new(ErrorKind::Conflict, message).with_reason("changed_meanwhile"));
                }
            }
            Guard::NameRested { name, owner, since } => {
                let tombs = self.dead_names.get(name).into_iter().flatten().filter_map(|id| self.vms.get(id));
                let mut holding = tombs.filter(|row| row.owner != *owner && row.deleted >= Some(*since));
                if holding.next().is_some() {
                    return Err(name_taken());
                }
            }
            Guard::VmsAtMost { .. } | Guard::DiskAtMost { .. } | Guard::MemoryAtMost { .. } => {}
        }
        Ok(())
    }

    fn check_after(&self, guard: &Guard) -> Result<()> {
        let used = |owner| self.usage.get(owner).copied().unwrap_or_default();
        let (used, limit, what) = match guard {
            Guard::VmsAtMost { owner, limit } => (used(owner).vms, *limit, "vms"),
            Guard::DiskAtMost { owner, limit } => (used(owner).disk, limit.get(), "disk"),
            Guard::MemoryAtMost { owner, limit } => (used(owner).memory, limit.get(), "memory"),
            Guard::Unchanged { .. } | Guard::NameRested { .. } => return Ok(()),
        };
        if used > u128::from(limit) {
            let message = format!("the quota of {what} is used up; destroy something, or ask for more");
            return Err(Error::new(ErrorKind::Exhausted, message).with_reason("quota"));
        }
        Ok(())
    }

    fn write_all(&mut self, writes: &[Write], done: &mut Vec<Before>) -> Result<()> {
        for write in writes {
            done.push(match write {
                Write::InsertVm(row) => self.insert_vm(row)?,
                Write::UpdateVm(row) => self.update_vm(row)?,
                Write::InsertOperation(row) => self.insert_operation(row)?,
                Write::UpdateOperation(row) => self.update_operation(row)?,
            });
        }
        Ok(())
    }

    fn write_people(&mut self, writes: &[PeopleWrite]) -> Result<()> {
        let Self { people, usage, .. } = self;
        let owns = |user: &Owner| usage.get(user).is_some_and(|used| used.vms > 0 || used.disk > 0);
        writes.iter().try_for_each(|write| people.write(write, owns))
    }

    fn insert_vm(&mut self, row: &VmRow) -> Result<Before> {
        if self.vms.contains_key(&row.id) {
            return Err(id_taken("vm"));
        }
        self.check_name(row)?;
        Ok(self.put_vm(row.id, Some(row.clone())))
    }

    fn update_vm(&mut self, row: &VmRow) -> Result<Before> {
        let found = self
            .vms
            .get(&row.id)
            .ok_or_else(|| Error::not_found(format!("there is no vm {}", row.id)).with_reason("vm_unknown"))?;
        if found.deleted.is_some() && row.deleted.is_none() {
            let message = format!("the vm {} was destroyed", row.id);
            return Err(Error::new(ErrorKind::Conflict, message).with_reason("gone"));
        }
        self.check_name(row)?;
        Ok(self.put_vm(row.id, Some(row.clone())))
    }

    fn check_name(&self, row: &VmRow) -> Result<()> {
        let holder = self.live_names.get(&row.name);
        if row.deleted.is_none() && holder.is_some_and(|holder| *holder != row.id) {
            return Err(name_taken());
        }
        Ok(())
    }

    fn insert_operation(&mut self, row: &OperationRow) -> Result<Before> {
        if self.operations.contains_key(&row.id) {
            return Err(id_taken("operation"));
        }
        self.check_key(row)?;
        self.accepted += 1;
        Ok(self.put_operation(row.id, Some((self.accepted, row.clone()))))
    }

    fn update_operation(&mut self, row: &OperationRow) -> Result<Before> {
        let place = self.operations.get(&row.id).map(|(place, _)| *place).ok_or_else(|| {
            Error::not_found(format!("there is no operation {}", row.id)).with_reason("operation_unknown")
        })?;
        self.check_key(row)?;
        Ok(self.put_operation(row.id, Some((place, row.clone()))))
    }

    fn check_key(&self, row: &OperationRow) -> Result<()> {
        let Some((key, _)) = &row.idempotency else { return Ok(()) };
        let holder = self.keys.get(&(row.owner.clone(), key.clone()));
        if holder.is_some_and(|holder| *holder != row.id) {
            let message = "this idempotency key is in use already";
            return Err(Error::new(ErrorKind::AlreadyExists, message).with_reason("idempotency_key"));
        }
        Ok(())
    }

    fn put_vm(&mut self, id: VmId, row: Option<VmRow>) -> Before {
        let before = self.vms.remove(&id);
        if let Some(before) = &before {
            if before.deleted.is_some() {
                self.dead_names.entry(before.name.clone()).or_default().remove(&id);
            } else {
                self.live_names.remove(&before.name);
            }
            self.count(before, |sum, amount| sum.saturating_sub(amount));
        }
        if let Some(row) = row {
            if row.deleted.is_some() {
                self.dead_names.entry(row.name.clone()).or_default().insert(id);
            } else {
                self.live_names.insert(row.name.clone(), id);
            }
            self.count(&row, u128::saturating_add);
            self.vms.insert(id, row);
        }
        Before::Vm(id, before.map(Box::new))
    }

    fn count(&mut self, row: &VmRow, change: impl Fn(u128, u128) -> u128) {
        let data = row.spec.data.map_or(0, |data| u128::from(data.get()));
        let usage = self.usage.entry(row.owner.clone()).or_default();
        if row.deleted.is_some() {
            usage.disk = change(usage.disk, if row.kept { data } else { 0 });
            return;
        }
        let disk = u128::from(row.spec.root.get()) + data;
        usage.vms = change(usage.vms, 1);
        usage.disk = change(usage.disk, disk);
        usage.memory = change(usage.memory, u128::from(row.spec.memory.get()));
    }

    fn put_operation(&mut self, id: OperationId, row: Option<(u64, OperationRow)>) -> Before {
        let before = self.operations.remove(&id);
        if let Some((place, before)) = &before {
            self.pending.remove(&(before.vm, *place));
            self.free.remove(place);
            if let Some((key, _)) = &before.idempotency {
                self.keys.remove(&(before.owner.clone(), key.clone()));
                self.keyed.remove(&(before.ended.unwrap_or_default(), id));
            }
        }
        if let Some((place, row)) = row {
            match (&row.state, &row.idempotency, row.ended) {
                (OperationState::Pending, ..) => drop(self.pending.insert((row.vm, place), id)),
                (_, None, _) => drop(self.free.insert(place, id)),
                (_, Some(_), Some(ended)) => drop(self.keyed.insert((ended, id))),
                (_, Some(_), None) => {}
            }
            if let Some((key, _)) = &row.idempotency {
                self.keys.insert((row.owner.clone(), key.clone()), id);
            }
            self.operations.insert(id, (place, row));
        }
        Before::Operation(id, before.map(Box::new))
    }
}

fn name_taken() -> Error {
    Error::new(ErrorKind::AlreadyExists, "this name is taken; choose another").with_reason("name_taken")
}

fn id_taken(what: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("there is a {what} with this id already")).with_reason("id_taken")
}
