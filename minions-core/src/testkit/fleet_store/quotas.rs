//! How much one owner may have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{Scene, refused};
use crate::error::ErrorKind;
use crate::store::fleet::{FleetChange, FleetStore, Guard, Owner, VmQuery, VmRow, Write};
use crate::testkit::cx;
use crate::types::{ByteSize, Goal, StopHow};

/// Counted in the transaction that inserts, so that nobody slips through.
pub async fn ctl_6_5_a_hundred_creates_at_a_quota_of_five_make_five<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let mut calls = tokio::task::JoinSet::new();
    for nth in 0..100 {
        let (store, vm) = (scene.store.clone(), scene.vm("ann", &format!("vm{nth}")));
        calls.spawn(async move {
            let change = FleetChange {
                guards: vec![Guard::VmsAtMost { owner: vm.owner.clone(), limit: 5 }],
                writes: vec![Write::InsertVm(vm)],
                events: Vec::new(),
                ..FleetChange::default()
            };
            match store.commit(&cx(), &change).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("quota")));
                    false
                }
            }
        });
    }
    let made = calls.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 5);
    let rows = scene.store.vms(&cx(), &VmQuery { limit: 100, ..VmQuery::default() }).await.unwrap();
    assert_eq!(rows.len(), 5);
}

/// Stopped VMs have disks; tombstones have nothing; other owners are others.
pub async fn quotas_count_what_is_stopped_and_forget_tombstones<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let ann = Owner("ann".to_owned());
    let mut vm = scene.vm("ann", "web");
    vm.spec.memory = ByteSize::gib(1);
    vm.spec.root = ByteSize::gib(3);
    vm.spec.data = Some(ByteSize::gib(4));
    vm.goal = Goal::Stopped { how: StopHow::Force };
    scene.write(vec![Write::InsertVm(vm.clone())]).await.unwrap();
    scene.insert("bob", "bobs").await;
    let guards = |vms, disk, memory| FleetChange {
        guards: vec![
            Guard::VmsAtMost { owner: ann.clone(), limit: vms },
            Guard::DiskAtMost { owner: ann.clone(), limit: ByteSize::bytes(disk) },
            Guard::MemoryAtMost { owner: ann.clone(), limit: ByteSize::bytes(memory) },
        ],
        ..FleetChange::default()
    };
    let (disk, memory) = (7 << 30, 1 << 30);
    scene.commit(guards(1, disk, memory)).await.expect("exactly the quota is within it");
    for (vms, disk, memory) in [(0, disk, memory), (1, disk - 1, memory), (1, disk, memory - 1)] {
        refused(scene.commit(guards(vms, disk, memory)).await, ErrorKind::Exhausted, "quota");
    }
    let deleting = VmRow { goal: Goal::ABSENT, ..vm };
    scene.write(vec![Write::UpdateVm(deleting.clone())]).await.unwrap();
    refused(scene.commit(guards(0, 0, 0)).await, ErrorKind::Exhausted, "quota");
    scene.destroy(&deleting, 10).await;
    scene.commit(guards(0, 0, 0)).await.expect("a tombstone holds nothing");
}

/// The data disk that a tombstone keeps counts, is listed, and is nobody's but its owner's.
pub async fn a_disk_that_was_kept_counts_until_it_goes<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let mut vm = scene.vm("ann", "web");
    vm.spec.root = ByteSize::gib(3);
    vm.spec.data = Some(ByteSize::gib(4));
    scene.write(vec![Write::InsertVm(vm.clone())]).await.unwrap();
    let listed = |owner: &str| {
        let (store, owner) = (scene.store.clone(), Some(Owner(owner.to_owned())));
        async move { store.vms(&cx(), &VmQuery { owner, kept: true, limit: 9, ..VmQuery::default() }).await.unwrap() }
    };
    assert_eq!(listed("ann").await, [], "one that lives has left nothing");
    let goal = Goal::Absent { keep_data: true };
    let left = VmRow { goal, kept: true, deleted: Some(crate::types::UnixMillis(10)), ..vm };
    scene.write(vec![Write::UpdateVm(left.clone())]).await.unwrap();
    assert_eq!((listed("ann").await, listed("bob").await), (vec![left.clone()], vec![]));
    let at_most = |limit| FleetChange {
        guards: vec![
            Guard::DiskAtMost { owner: left.owner.clone(), limit: ByteSize::bytes(limit) },
            Guard::VmsAtMost { owner: left.owner.clone(), limit: 0 },
            Guard::MemoryAtMost { owner: left.owner.clone(), limit: ByteSize::default() },
        ],
        ..FleetChange::default()
    };
    refused(scene.commit(at_most((4 << 30) - 1)).await, ErrorKind::Exhausted, "quota");
    scene.commit(at_most(4 << 30)).await.expect("its root disk is gone, and it is no VM any more");
    scene.write(vec![Write::UpdateVm(VmRow { kept: false, ..left.clone() })]).await.unwrap();
    scene.commit(at_most(0)).await.expect("it has left nothing");
    assert_eq!(listed("ann").await, []);
}

/// What the change itself writes counts, growth as much as newcomers.
pub async fn quotas_are_checked_after_the_writes<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let limit = vm.spec.memory;
    let resize = |memory| {
        let mut row = vm.clone();
        row.spec.memory = memory;
        FleetChange {
            guards: vec![Guard::MemoryAtMost { owner: vm.owner.clone(), limit }],
            writes: vec![Write::UpdateVm(row)],
            events: Vec::new(),
            ..FleetChange::default()
        }
    };
    refused(scene.commit(resize(ByteSize::bytes(limit.get() + 1))).await, ErrorKind::Exhausted, "quota");
    assert_eq!(scene.read(vm.id).await.map(|row| row.spec.memory), Some(limit), "nothing of it was written");
    scene.commit(resize(limit)).await.unwrap();
}
