//! Forwards the port FleetStore.

use async_trait::async_trait;

use super::{Layered, forward};
use crate::env::CallCx;
use crate::error::Result;
use crate::store::fleet::{Event, EventQuery, FleetChange, FleetStore, OperationRow, Owner, VmQuery, VmRow};
use crate::store::retention::{Prune, Pruned};
use crate::types::{EventSeq, OperationId, VmId, VmName};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: FleetStore + ?Sized> FleetStore for Layered<P> {
    async fn commit(&self, cx: &CallCx, change: &FleetChange) -> Result<EventSeq> {
        forward!(self, cx, Change, "fleet_store.commit", None, commit(change))
    }

    async fn vm(&self, cx: &CallCx, id: VmId) -> Result<Option<VmRow>> {
        forward!(self, cx, Read, "fleet_store.vm", Some(id), vm(id))
    }

    async fn vm_by_name(&self, cx: &CallCx, name: &VmName) -> Result<Option<VmRow>> {
        forward!(self, cx, Read, "fleet_store.vm_by_name", None, vm_by_name(name))
    }

    async fn vms(&self, cx: &CallCx, query: &VmQuery) -> Result<Vec<VmRow>> {
        forward!(self, cx, Read, "fleet_store.vms", None, vms(query))
    }

    async fn operation(&self, cx: &CallCx, id: OperationId) -> Result<Option<OperationRow>> {
        forward!(self, cx, Read, "fleet_store.operation", None, operation(id))
    }

    async fn operation_by_key(&self, cx: &CallCx, owner: &Owner, key: &str) -> Result<Option<OperationRow>> {
        forward!(self, cx, Read, "fleet_store.operation_by_key", None, operation_by_key(owner, key))
    }

    async fn pending_operations(&self, cx: &CallCx, vm: VmId) -> Result<Vec<OperationRow>> {
        forward!(self, cx, Read, "fleet_store.pending_operations", Some(vm), pending_operations(vm))
    }

    async fn events(&self, cx: &CallCx, query: &EventQuery) -> Result<Vec<Event>> {
        forward!(self, cx, Read, "fleet_store.events", None, events(query))
    }

    async fn last_event(&self, cx: &CallCx) -> Result<EventSeq> {
        forward!(self, cx, Read, "fleet_store.last_event", None, last_event())
    }

    async fn prune(&self, cx: &CallCx, prune: &Prune) -> Result<Pruned> {
        forward!(self, cx, Change, "fleet_store.prune", None, prune(prune))
    }
}
