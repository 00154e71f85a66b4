//! The table of routes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::api::v1;
use crate::service::{Caller, Role};
use crate::types::{Generation, VmId, VmName, VmState};

/// How much is under way at a VM. One for its whole life, whatever of it changes.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub busy: AtomicUsize,
}

/// What is known of a VM.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub id: VmId,
    pub name: VmName,
    pub owner: String,
    pub generation: Generation,
    pub epoch: u64,
    /// It was asked to run.
    pub wanted: bool,
    pub state: VmState,
    pub access: v1::Access,
    pub load: Arc<Load>,
}

impl Route {
    /// Whether a visitor may reach it; `None` is anybody.
    pub fn admits(&self, visitor: Option<&Caller>) -> bool {
        self.access.public
            || visitor.is_some_and(|caller| match caller.role {
                Role::Admin => true,
                Role::Tenant => self.owner == caller.owner.0 || self.access.shared.contains(&caller.owner.0),
                Role::Edge => false,
            })
    }

    /// Whether a connection that was made for it then may serve it now.
    pub fn same_run(&self, generation: Generation, epoch: u64) -> bool {
        self.generation == generation && self.epoch == epoch
    }
}

/// Names and VMs. A VM that is on its way out has no name any more.
#[derive(Debug, Default)]
pub(super) struct Table {
    names: HashMap<VmName, VmId>,
    routes: HashMap<VmId, Arc<Route>>,
}

impl Table {
    pub fn find(&self, name: &VmName) -> Option<Arc<Route>> {
        self.routes.get(self.names.get(name)?).cloned()
    }

    pub fn get(&self, id: VmId) -> Option<Arc<Route>> {
        self.routes.get(&id).cloned()
    }

    /// A VM as it is now.
    pub fn put(&mut self, vm: v1::Vm) {
        let gone = vm.goal == "absent" || vm.deleted.is_some();
        if gone || matches!(vm.state, VmState::Deleting | VmState::Destroyed) {
            return self.remove(vm.id);
        }
        let old = self.routes.get(&vm.id);
        let load = old.map(|old| old.load.clone()).unwrap_or_default();
        if let Some(before) = old.filter(|old| old.name != vm.name).map(|old| old.name.clone()) {
            self.forget(&before, vm.id);
        }
        self.names.insert(vm.name.clone(), vm.id);
        let route = Route {
            id: vm.id,
            name: vm.name,
            owner: vm.owner,
            generation: vm.generation,
            epoch: vm.epoch,
            wanted: vm.goal == "running",
            state: vm.state,
            access: vm.access,
            load,
        };
        self.routes.insert(vm.id, Arc::new(route));
    }

    /// A VM that is no more.
    pub fn remove(&mut self, id: VmId) {
        if let Some(old) = self.routes.remove(&id) {
            self.forget(&old.name, id);
        }
    }

    /// All but these are no more.
    pub fn keep(&mut self, ids: &HashSet<VmId>) {
        let gone: Vec<VmId> = self.routes.keys().filter(|id| !ids.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }

    /// Another VM may have taken the name already.
    fn forget(&mut self, name: &VmName, id: VmId) {
        if self.names.get(name) == Some(&id) {
            self.names.remove(name);
        }
    }
}
