//! A port behind a pointer is a port.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::api::guest::GuestCall;
use crate::env::CallCx;
use crate::error::Result;
use crate::guest::{DoorState, GuestCapabilities, GuestChannel, GuestIoBox};
use crate::hypervisor::{ConsoleBox, Hypervisor, HypervisorCapabilities, VmmConfig, VmmStatus};
use crate::network::{Network, NetworkCapabilities, PortConfig, PortStatus};
use crate::node::{Node, NodeChanges, NodeInfo, NodeVm};
use crate::storage::{Storage, StorageCapabilities, StorageUsage, VolumeConfig, VolumeStatus};
use crate::store::fleet::{Event, EventQuery, FleetChange, FleetStore, OperationRow, Owner, VmQuery, VmRow};
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, Outcome, Tombstone};
use crate::store::retention::{Prune, Pruned};
use crate::types::{
    AgentSecret, Cid, EventSeq, Generation, ImageBundle, ImageId, ImageInfo, OperationId, StepReport, StopHow, VmId,
    VmName, VolumeId,
};

macro_rules! pointer {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: Hypervisor + ?Sized> Hypervisor for $pointer<P> {
            fn capabilities(&self) -> HypervisorCapabilities {
                (**self).capabilities()
            }

            async fn ensure_process(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
                (**self).ensure_process(cx, config).await
            }

            async fn ensure_running(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
                (**self).ensure_running(cx, config).await
            }

            async fn ensure_paused(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
                (**self).ensure_paused(cx, id).await
            }

            async fn ensure_captured(&self, cx: &CallCx, id: VmId, folder: &Path) -> Result<StepReport> {
                (**self).ensure_captured(cx, id, folder).await
            }

            async fn ensure_disks(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
                (**self).ensure_disks(cx, config).await
            }

            async fn ensure_absent(&self, cx: &CallCx, id: VmId, how: &StopHow) -> Result<StepReport> {
                (**self).ensure_absent(cx, id, how).await
            }

            async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<VmmStatus>> {
                (**self).observe(cx, id).await
            }

            async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
                (**self).list(cx).await
            }

            async fn wait_exit(&self, cx: &CallCx, id: VmId) -> Result<()> {
                (**self).wait_exit(cx, id).await
            }

            async fn console_log(&self, cx: &CallCx, id: VmId, max: usize) -> Result<Vec<u8>> {
                (**self).console_log(cx, id, max).await
            }

            async fn console(&self, cx: &CallCx, id: VmId, tail: usize) -> Result<ConsoleBox> {
                (**self).console(cx, id, tail).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: Storage + ?Sized> Storage for $pointer<P> {
            fn capabilities(&self) -> StorageCapabilities {
                (**self).capabilities()
            }

            async fn usage(&self, cx: &CallCx) -> Result<StorageUsage> {
                (**self).usage(cx).await
            }

            async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<StepReport> {
                (**self).ensure_image(cx, bundle).await
            }

            async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<StepReport> {
                (**self).ensure_image_absent(cx, id).await
            }

            async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
                (**self).images(cx).await
            }

            async fn ensure_volume(&self, cx: &CallCx, config: &VolumeConfig) -> Result<StepReport> {
                (**self).ensure_volume(cx, config).await
            }

            async fn ensure_volume_absent(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
                (**self).ensure_volume_absent(cx, id).await
            }

            async fn volumes_of(&self, cx: &CallCx, vm: VmId) -> Result<Vec<VolumeStatus>> {
                (**self).volumes_of(cx, vm).await
            }

            async fn volumes(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
                (**self).volumes(cx).await
            }

            async fn quarantine(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
                (**self).quarantine(cx, id).await
            }

            async fn quarantined(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
                (**self).quarantined(cx).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: Network + ?Sized> Network for $pointer<P> {
            fn capabilities(&self) -> NetworkCapabilities {
                (**self).capabilities()
            }

            async fn ensure_port(&self, cx: &CallCx, config: &PortConfig) -> Result<StepReport> {
                (**self).ensure_port(cx, config).await
            }

            async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
                (**self).ensure_absent(cx, id).await
            }

            async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<PortStatus>> {
                (**self).observe(cx, id).await
            }

            async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
                (**self).list(cx).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: GuestChannel + ?Sized> GuestChannel for $pointer<P> {
            fn capabilities(&self) -> GuestCapabilities {
                (**self).capabilities()
            }

            async fn ensure_open(&self, cx: &CallCx, id: VmId, cid: Cid) -> Result<StepReport> {
                (**self).ensure_open(cx, id, cid).await
            }

            async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
                (**self).ensure_absent(cx, id).await
            }

            async fn connect(&self, cx: &CallCx, id: VmId, port: u32) -> Result<GuestIoBox> {
                (**self).connect(cx, id, port).await
            }

            async fn accept(&self, cx: &CallCx, id: VmId) -> Result<GuestIoBox> {
                (**self).accept(cx, id).await
            }

            async fn observe(&self, cx: &CallCx, id: VmId) -> Result<DoorState> {
                (**self).observe(cx, id).await
            }

            async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
                (**self).list(cx).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: FleetStore + ?Sized> FleetStore for $pointer<P> {
            async fn commit(&self, cx: &CallCx, change: &FleetChange) -> Result<EventSeq> {
                (**self).commit(cx, change).await
            }

            async fn vm(&self, cx: &CallCx, id: VmId) -> Result<Option<VmRow>> {
                (**self).vm(cx, id).await
            }

            async fn vm_by_name(&self, cx: &CallCx, name: &VmName) -> Result<Option<VmRow>> {
                (**self).vm_by_name(cx, name).await
            }

            async fn vms(&self, cx: &CallCx, query: &VmQuery) -> Result<Vec<VmRow>> {
                (**self).vms(cx, query).await
            }

            async fn operation(&self, cx: &CallCx, id: OperationId) -> Result<Option<OperationRow>> {
                (**self).operation(cx, id).await
            }

            async fn operation_by_key(&self, cx: &CallCx, owner: &Owner, key: &str) -> Result<Option<OperationRow>> {
                (**self).operation_by_key(cx, owner, key).await
            }

            async fn pending_operations(&self, cx: &CallCx, vm: VmId) -> Result<Vec<OperationRow>> {
                (**self).pending_operations(cx, vm).await
            }

            async fn events(&self, cx: &CallCx, query: &EventQuery) -> Result<Vec<Event>> {
                (**self).events(cx, query).await
            }

            async fn last_event(&self, cx: &CallCx) -> Result<EventSeq> {
                (**self).last_event(cx).await
            }

            async fn prune(&self, cx: &CallCx, prune: &Prune) -> Result<Pruned> {
                (**self).prune(cx, prune).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: Journal + ?Sized> Journal for $pointer<P> {
            async fn accept(&self, cx: &CallCx, entry: &GoalEntry, secret: &AgentSecret) -> Result<Accepted> {
                (**self).accept(cx, entry, secret).await
            }

            async fn row(&self, cx: &CallCx, vm: VmId) -> Result<Option<JournalRow>> {
                (**self).row(cx, vm).await
            }

            async fn rows(&self, cx: &CallCx, after: Option<VmId>, limit: usize) -> Result<Vec<JournalRow>> {
                (**self).rows(cx, after, limit).await
            }

            async fn provisioned(&self, cx: &CallCx, vm: VmId, turn: u32) -> Result<()> {
                (**self).provisioned(cx, vm, turn).await
            }

            async fn settle(&self, cx: &CallCx, vm: VmId, generation: Generation, outcome: &Outcome) -> Result<bool> {
                (**self).settle(cx, vm, generation, outcome).await
            }

            async fn bury(&self, cx: &CallCx, vm: VmId, generation: Generation) -> Result<()> {
                (**self).bury(cx, vm, generation).await
            }

            async fn tombstone(&self, cx: &CallCx, vm: VmId) -> Result<Option<Tombstone>> {
                (**self).tombstone(cx, vm).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: Node + ?Sized> Node for $pointer<P> {
            async fn info(&self, cx: &CallCx) -> Result<NodeInfo> {
                (**self).info(cx).await
            }

            async fn apply(&self, cx: &CallCx, entry: &GoalEntry) -> Result<NodeVm> {
                (**self).apply(cx, entry).await
            }

            async fn observe(&self, cx: &CallCx, vm: VmId) -> Result<Option<NodeVm>> {
                (**self).observe(cx, vm).await
            }

            async fn changes(&self, cx: &CallCx, after: u64) -> Result<NodeChanges> {
                (**self).changes(cx, after).await
            }

            async fn open(&self, cx: &CallCx, vm: VmId, call: &GuestCall) -> Result<GuestIoBox> {
                (**self).open(cx, vm, call).await
            }

            async fn console_log(&self, cx: &CallCx, vm: VmId, max: usize) -> Result<Vec<u8>> {
                (**self).console_log(cx, vm, max).await
            }

            async fn console(&self, cx: &CallCx, vm: VmId, tail: usize) -> Result<ConsoleBox> {
                (**self).console(cx, vm, tail).await
            }

            async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<()> {
                (**self).ensure_image(cx, bundle).await
            }

            async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<()> {
                (**self).ensure_image_absent(cx, id).await
            }

            async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
                (**self).images(cx).await
            }
        }
    };
}

pointer!(Arc);
pointer!(Box);
