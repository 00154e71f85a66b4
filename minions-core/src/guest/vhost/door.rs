//! The doors of all VMs, and whose a context id is.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::VhostError;
use crate::guest::door::Passage;
use crate::types::{Cid, VmId};

/// One VM's door.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Who may knock at it, and is dialled through it.
    pub cid: Cid,
    pub passage: Arc<Passage>,
}

/// Every open door; no two have one context id.
#[derive(Debug, Default)]
pub(super) struct Doors {
    of_vm: HashMap<VmId, Door>,
    of_cid: HashMap<u32, VmId>,
}

impl Doors {
    /// The VM's door is open to its context id.
    pub fn open(&mut self, id: VmId, cid: Cid) -> Result<(), VhostError> {
        if let Some(door) = self.of_vm.get(&id) {
            let have = door.cid;
            return if have == cid { Ok(()) } else { Err(VhostError::OtherCid { id, have, want: cid }) };
        }
        if let Some(&other) = self.of_cid.get(&cid.get()) {
            return Err(VhostError::SameCid { id, cid, other });
        }
        self.of_cid.insert(cid.get(), id);
        self.of_vm.insert(id, Door { cid, passage: Arc::default() });
        Ok(())
    }

    /// The door is closed, and who went through it is cut off.
    pub fn close(&mut self, id: VmId) {
        if let Some(door) = self.of_vm.remove(&id) {
            self.of_cid.remove(&door.cid.get());
            door.passage.close();
        }
    }

    pub fn of(&self, id: VmId) -> Option<Door> {
        self.of_vm.get(&id).cloned()
    }

    /// The door at which this context id may knock.
    pub fn of_cid(&self, cid: u32) -> Option<&Door> {
        self.of_cid.get(&cid).and_then(|id| self.of_vm.get(id))
    }

    /// Every VM that has one.
    pub fn all(&self) -> Vec<VmId> {
        let mut ids: Vec<VmId> = self.of_vm.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}
