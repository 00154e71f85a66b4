//! Ends sessions whose VM is not what it was: stopped, destroyed, started anew, or somebody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use super::login::{Bound, Login};
use crate::error::ErrorKind;
use crate::service::{Caller, VmRef};
use crate::types::{EventSeq, VmId, VmState};

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
    of: HashMap<VmId, HashMap<u64, (Login, watch::Sender<bool>)>>,
}

/// Held by a connection for as long as it lasts.
#[derive(Debug)]
pub(super) struct Held {
    watched: Watched,
    vm: VmId,
    number: u64,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, login: &Login, over: watch::Sender<bool>) -> Held {
        let mut table = self.lock();
        table.next += 1;
        let (vm, number) = (login.vm.id, table.next);
        table.of.entry(vm).or_default().insert(number, (login.clone(), over));
        Held { watched: self.clone(), vm, number }
    }

    fn any(&self, vm: VmId) -> bool {
        self.lock().of.contains_key(&vm)
    }

    fn vms(&self) -> Vec<VmId> {
        self.lock().of.keys().copied().collect()
    }

    fn logins(&self) -> Vec<(Login, watch::Sender<bool>)> {
        self.lock().of.values().flat_map(HashMap::values).cloned().collect()
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
        if let Some(of) = table.of.get_mut(&self.vm) {
            of.remove(&self.number);
            if of.is_empty() {
                table.of.remove(&self.vm);
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
        for (login, over) in shared.watched.logins() {
            match shared.accounts.by_key(&login.key).await {
                Ok(Some(now)) if now == login.caller => {}
                Ok(_) => drop(over.send_replace(true)),
                Err(error) => tracing::warn!(error = %error.chain(), "whose key it is cannot be told"),
            }
        }
    }
    // Nothing will change any more.
    std::future::pending().await
}
