//! Rows that the cases write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::Env;
use crate::error::{ErrorKind, Result};
use crate::store::fleet::{
    EventKind, FleetChange, FleetStore, NewEvent, OperationRow, OperationState, Owner, VmRow, Write,
};
use crate::testkit::cx;
use crate::types::{ByteSize, EventSeq, Generation, Goal, ImageId, OperationVerb, UnixMillis, Vcpus, VmId, VmSpec};

/// One fresh store and what makes rows for it.
pub(super) struct Scene<S: ?Sized> {
    pub store: Arc<S>,
    pub env: Env,
}

impl<S: FleetStore + ?Sized> Scene<S> {
    pub(super) async fn new(make: &impl AsyncFn(PathBuf) -> Arc<S>, folder: &Path) -> Self {
        Self { store: make(folder.to_owned()).await, env: Env::seeded(7) }
    }

    pub(super) fn vm(&self, owner: &str, name: &str) -> VmRow {
        VmRow {
            id: self.env.vm_id(),
            name: name.parse().unwrap(),
            owner: Owner(owner.to_owned()),
            spec: VmSpec {
                image: ImageId::from_digest([3; 32]),
                vcpus: Vcpus(2),
                memory: ByteSize::mib(256),
                root: ByteSize::gib(2),
                data: None,
                ..VmSpec::of(ImageId::from_digest([3; 32]))
            },
            goal: Goal::Running { epoch: 1 },
            generation: Generation(1),
            settled: Generation(0),
            epoch: 1,
            failure: None,
            created: UnixMillis(1_000),
            updated: UnixMillis(1_000),
            deleted: None,
            kept: false,
            access: crate::store::Access::default(),
        }
    }

    pub(super) fn operation(&self, vm: &VmRow, key: Option<&str>) -> OperationRow {
        OperationRow {
            id: self.env.operation_id(),
            verb: OperationVerb::Create,
            vm: vm.id,
            owner: vm.owner.clone(),
            generation: vm.generation,
            idempotency: key.map(|key| (key.to_owned(), [9; 32])),
            state: OperationState::Pending,
            marks: Vec::new(),
            created: UnixMillis(1_000),
            ended: None,
        }
    }

    pub(super) async fn commit(&self, change: FleetChange) -> Result<EventSeq> {
        self.store.commit(&cx(), &change).await
    }

    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<EventSeq> {
        self.commit(FleetChange { writes, ..FleetChange::default() }).await
    }

    pub(super) async fn insert(&self, owner: &str, name: &str) -> VmRow {
        let row = self.vm(owner, name);
        self.write(vec![Write::InsertVm(row.clone())]).await.unwrap();
        row
    }

    /// Makes a tombstone of it.
    pub(super) async fn destroy(&self, row: &VmRow, at: u64) -> VmRow {
        let row = VmRow { goal: Goal::ABSENT, deleted: Some(UnixMillis(at)), ..row.clone() };
        self.write(vec![Write::UpdateVm(row.clone())]).await.unwrap();
        row
    }

    pub(super) async fn read(&self, id: VmId) -> Option<VmRow> {
        self.store.vm(&cx(), id).await.unwrap()
    }
}

pub(super) fn deleted_event(vm: &VmRow) -> NewEvent {
    NewEvent {
        vm: vm.id,
        name: vm.name.clone(),
        owner: vm.owner.clone(),
        at: UnixMillis(2_000),
        kind: EventKind::Deleted,
    }
}

/// The call was refused with this kind and reason.
#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, reason: &str) {
    let error = result.expect_err("the call is refused");
    assert_eq!((error.kind(), error.reason()), (kind, Some(reason)), "{}", error.chain());
    assert_eq!(error.effect(), crate::error::Effect::None, "{}", error.chain());
}
