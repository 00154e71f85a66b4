//! Whom a key and a user name let in, and where to.

use std::sync::Arc;

use super::Shared;
use super::desk::{self, Person};
use crate::error::ErrorKind;
use crate::service::{Caller, Role, VmRef};
use crate::types::{KeyPrint, VmId, VmName};

/// Longest user name that is looked at, in bytes.
const MAX_USER: usize = 64;

/// Somebody who logged in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) caller: Caller,
    pub(super) key: KeyPrint,
    pub(super) vm: Bound,
}

/// What somebody logged in to.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Vm(Arc<Login>),
    /// The service itself.
    Desk(Arc<Person>),
}

/// The VM that a login leads to, as it was then. A session of one that has become another ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) id: VmId,
    pub(super) name: VmName,
    pub(super) owner: String,
    pub(super) epoch: u64,
}

/// `None` where anything is amiss, whatever it is: who has no account, whose VM it is and whether there is one look alike,
/// and take the same steps.
pub(super) async fn login(shared: &Shared, user: &str, key: KeyPrint) -> Option<Entry> {
    let caller = match shared.accounts.by_key(&key).await {
        Ok(caller) => caller,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "whose key it is cannot be told");
            None
        }
    };
    // Nobody is called so, and nobody has anything.
    let known = caller.is_some();
    let caller = caller.unwrap_or_else(|| Caller::tenant(""));
    let name = Some(user).filter(|user| user.len() <= MAX_USER).and_then(|user| user.parse::<VmName>().ok());
    let asked = name.unwrap_or_else(nobody);
    let found = match shared.plane.vm(&caller, &VmRef::Name(asked)).await {
        Ok(vm) => Some(vm),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "whose VM it is cannot be told");
            None
        }
    };
    if known && user == desk::NAME && shared.commands.is_some() {
        return Some(Entry::Desk(Arc::new(Person { caller, key })));
    }
    // Whom a VM is shared with sees it, and does not enter it.
    let vm = found.filter(|vm| known && vm.name.as_str() == user)?;
    let enters = caller.role == Role::Admin || caller.role == Role::Tenant && vm.owner == caller.owner.0;
    let vm = Bound { id: vm.id, name: vm.name, owner: vm.owner, epoch: vm.epoch };
    enters.then(|| Entry::Vm(Arc::new(Login { caller, key, vm })))
}

/// A name that no VM has, for the same steps where no VM could be meant.
fn nobody() -> VmName {
    match "x".repeat(40).parse() {
        Ok(name) => name,
        Err(_) => unreachable!("forty letters are a name"),
    }
}
