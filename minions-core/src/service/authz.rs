//! Who may touch which VM. The only door from a reference to a row.

use super::caller::{Caller, Role};
use super::control_plane::VmRef;
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::store::fleet::DynFleetStore;
use crate::store::{OperationRow, VmRow};
use crate::types::OperationId;

/// A row that the caller may touch. Made only here.
#[derive(Debug)]
pub(super) struct OwnedVm(VmRow);

impl OwnedVm {
    pub(super) fn row(&self) -> &VmRow {
        &self.0
    }
}

/// Checks callers against the store.
#[derive(Clone, Debug)]
pub(super) struct Authz {
    store: DynFleetStore,
}

impl Authz {
    pub(super) fn new(store: DynFleetStore) -> Self {
        Self { store }
    }

    /// The VM, if it is the caller's to touch; otherwise it is as if it were not there.
    pub(super) async fn vm(&self, cx: &CallCx, caller: &Caller, vm: &VmRef) -> Result<OwnedVm> {
        let row = match vm {
            VmRef::Id(id) => self.store.vm(cx, *id).await?,
            VmRef::Name(name) => self.store.vm_by_name(cx, name).await?,
        };
        row.filter(|row| may(caller, &row.owner))
            .map(OwnedVm)
            .ok_or_else(|| Error::not_found("there is no such VM; see `minions list`"))
    }

    /// An operation, if it is the caller's to see.
    pub(super) async fn operation(&self, cx: &CallCx, caller: &Caller, id: OperationId) -> Result<OperationRow> {
        let row = self.store.operation(cx, id).await?;
        row.filter(|row| may(caller, &row.owner)).ok_or_else(|| Error::not_found("there is no such operation"))
    }

    /// The caller runs this service.
    pub(super) fn admin(caller: &Caller) -> Result<()> {
        match caller.role {
            Role::Admin => Ok(()),
            Role::Tenant => {
                Err(Error::new(ErrorKind::Denied, "only an admin of the service may do this").with_reason("forbidden"))
            }
        }
    }
}

fn may(caller: &Caller, owner: &crate::store::Owner) -> bool {
    caller.role == Role::Admin || caller.owner == *owner
}
