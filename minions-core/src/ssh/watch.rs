//! Ends sessions whose VM is not what it was: stopped, destroyed, started anew, or somebody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use super::desk::Person;
use super::login::{Bound, Entry, Login};
use crate::error::ErrorKind;
use crate::service::{Caller, VmRef};
use crate::types::{EventSeq, KeyPrint, VmId, VmState};

/// The longest wait of one request for events.
const WAIT: Duration = Duration::from_secs(30);

/// The wait before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Every connection that has logged in, by its VM.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    of: HashMap<VmId, Connections<Login>>,
    desks: Connections<Person>,
}

/// Who logged in to something, and how their connection is ended.
type Connections<T> = HashMap<u64, (Arc<T>, watch::Sender<bool>)>;

/// Held by a connection for as long as it lasts.
#[derive(Debug)]
pub(super) struct Held {
    watched: Watched,
    vm: Option<VmId>,
    number: u64,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, entry: &Entry, over: watch::Sender<bool>) -> Held {
        let mut table = self.lock();
        table.next += 1;
        let number = table.next;
        let vm = match entry {
            Entry::Vm(login) => {
                let vm = login.vm.id;
                table.of.entry(vm).or_default().insert(number, (login.clone(), over));
                Some(vm)
            }
            Entry::Desk(person) => {
                table.desks.insert(number, (person.clone(), over));
                None
            }
        };
        Held { watched: self.clone(), vm, number }
    }

    fn any(&self, vm: VmId) -> bool {
        self.lock().of.contains_key(&vm)
    }

    fn vms(&self) -> Vec<VmId> {
        self.lock().of.keys().copied().collect()
    }

    /// Everybody's key, and who they were.
    fn people(&self) -> Vec<(KeyPrint, Caller, watch::Sender<bool>)> {
        let table = self.lock();
        let vms = table.of.values().flat_map(HashMap::values);
        let vms = vms.map(|(login, over)| (login.key, login.caller.clone(), over.clone()));
        let desks = table.desks.values().map(|(person, over)| (person.key, person.caller.clone(), over.clone()));
        vms.chain(desks).collect()
    }

    /// The VM is this now, or not there.
    fn is(&self, vm: VmId, now: Option<&Bound>) {
        for (login, over) in self.lock().of.get(&vm).into_iter().flat_map(HashMap::values) {
            if now.is_none_or(|now| now.owner != login.vm.owner || now.epoch != login.vm.epoch) {
                over.send_replace(true);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.watched.lock();
        let Some(vm) = self.vm else {
            table.desks.remove(&self.number);
            return;
        };
        if let Some(of) = table.of.get_mut(&vm) {
            of.remove(&self.number);
            if of.is_empty() {
                table.of.remove(&vm);
            }
        }
    }
}

/// Looks at each VM that somebody is in whenever anything is told of it, and at everybody whenever accounts change.
pub(super) async fn follow(shared: Arc<Shared>) {
    tokio::join!(follow_vms(&shared), follow_accounts(&shared));
}

async fn follow_vms(shared: &Shared) {
    let me = Caller::edge("ssh");
    let mut after: Option<EventSeq> = None;
    loop {
        let Some(place) = after else {
            match shared.plane.last_event(&me).await {
                Ok(last) => {
                    after = Some(last);
                    // What changed before that place is looked at once.
                    for vm in shared.watched.vms() {
                        look(shared, &me, vm).await;
                    }
                }
                Err(error) => pause(&error).await,
            }
            continue;
        };
        match shared.plane.events(&me, place, 1_000, WAIT).await {
            Ok(page) => {
                after = Some(page.next);
                let mut vms: Vec<VmId> = page.events.iter().map(|event| event.vm).collect();
                vms.sort_unstable();
                vms.dedup();
                for vm in vms.into_iter().filter(|vm| shared.watched.any(*vm)) {
                    look(shared, &me, vm).await;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => after = None,
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &crate::error::Error) {
    tracing::warn!(error = %error.chain(), "what becomes of VMs cannot be followed; trying again");
    tokio::time::sleep(RETRY).await;
}

async fn look(shared: &Shared, me: &Caller, vm: VmId) {
    match shared.plane.vm(me, &VmRef::Id(vm)).await {
        Ok(now) => {
            let there =
                !matches!(now.state, VmState::Stopped | VmState::Deleting | VmState::Destroyed | VmState::Failed);
            let bound = Bound { id: now.id, name: now.name, owner: now.owner, epoch: now.epoch };
            shared.watched.is(vm, Some(&bound).filter(|_| there && now.goal == "running"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => shared.watched.is(vm, None),
        Err(error) => tracing::warn!(error = %error.chain(), %vm, "what became of a VM cannot be told"),
    }
}

async fn follow_accounts(shared: &Shared) {
    let mut changes = shared.accounts.changes();
    while changes.changed().await.is_ok() {
        for (key, caller, over) in shared.watched.people() {
            match shared.accounts.by_key(&key).await {
                Ok(Some(now)) if now == caller => {}
                Ok(_) => drop(over.send_replace(true)),
                Err(error) => tracing::warn!(error = %error.chain(), "whose key it is cannot be told"),
            }
        }
    }
    // Nothing will change any more.
    std::future::pending().await
}
