//! Who may touch which VM. The only door from a reference to a row.

use super::caller::{Caller, Role};
use super::control_plane::VmRef;
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::store::fleet::DynFleetStore;
use crate::store::{OperationRow, VmRow};
use crate::types::{OperationId, TokenScope, VmId};

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

    /// The VM, where the caller has this right to it; otherwise it is as if it were not there.
    pub(super) async fn vm(&self, cx: &CallCx, caller: &Caller, vm: &VmRef, right: Right) -> Result<OwnedVm> {
        let row = match vm {
            VmRef::Id(id) => self.store.vm(cx, *id).await?,
            VmRef::Name(name) => self.store.vm_by_name(cx, name).await?,
        };
        let row = row.filter(|row| may(Some(caller), row, Right::See)).ok_or_else(no_vm)?;
        if !may(Some(caller), &row, right) {
            // They see it, so that to hide it would be a lie.
            let message = "only the owner of the VM may do this";
            return Err(Error::new(ErrorKind::Denied, message).with_reason("forbidden"));
        }
        within(caller, right).map(|()| OwnedVm(row))
    }

    /// The VM, where a visitor of a front door may reach it; otherwise it is as if it were not there.
    pub(super) async fn visited(&self, cx: &CallCx, visitor: Option<&Caller>, vm: VmId) -> Result<OwnedVm> {
        let row = self.store.vm(cx, vm).await?;
        let row = row.filter(|row| may(visitor, row, Right::Visit)).ok_or_else(no_vm)?;
        visitor.map_or(Ok(()), |visitor| within(visitor, Right::Visit))?;
        Ok(OwnedVm(row))
    }

    /// An operation, if it is the caller's to see.
    pub(super) async fn operation(&self, cx: &CallCx, caller: &Caller, id: OperationId) -> Result<OperationRow> {
        let row = self.store.operation(cx, id).await?;
        row.filter(|row| caller.role == Role::Admin || caller.owner == row.owner)
            .ok_or_else(|| Error::not_found("there is no such operation"))
    }

    /// The caller's token lets them change things.
    pub(super) fn full(caller: &Caller) -> Result<()> {
        within(caller, Right::Change)
    }

    /// The caller runs this service, and may change it.
    pub(super) fn admin(caller: &Caller) -> Result<()> {
        match caller.role {
            Role::Admin => Self::full(caller),
            Role::Tenant | Role::Edge => {
                Err(Error::new(ErrorKind::Denied, "only an admin of the service may do this").with_reason("forbidden"))
            }
        }
    }
}

/// Whether the caller's token goes as far as this.
fn within(caller: &Caller, right: Right) -> Result<()> {
    let least = match right {
        Right::See => TokenScope::Read,
        Right::Visit | Right::Enter => TokenScope::Enter,
        Right::Change => TokenScope::Full,
    };
    if caller.scope >= least {
        return Ok(());
    }
    let message = "this token does not go as far as that; use one of a larger scope";
    Err(Error::new(ErrorKind::Denied, message).with_reason("scope"))
}

fn no_vm() -> Error {
    Error::not_found("there is no such VM; see `minions list`")
}

/// What somebody wants of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// To know of it and how it is.
    See,
    /// To reach one of its ports through a front door.
    Visit,
    /// To run something in it, and to see what it prints.
    Enter,
    /// To change it.
    Change,
}

/// The one table of rights to a VM. `None` is anybody.
fn may(caller: Option<&Caller>, row: &VmRow, right: Right) -> bool {
    let Some(caller) = caller else { return right == Right::Visit && row.access.public && row.deleted.is_none() };
    match caller.role {
        Role::Admin => true,
        Role::Edge => right == Right::See,
        Role::Tenant if caller.owner == row.owner => true,
        Role::Tenant if row.deleted.is_some() => false,
        Role::Tenant => {
            let shared = row.access.shared.contains(&caller.owner);
            match right {
                Right::See => shared,
                Right::Visit => shared || row.access.public,
                Right::Enter | Right::Change => false,
            }
        }
    }
}
