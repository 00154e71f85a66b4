//! What can be asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::Scene;
use crate::store::fleet::{FleetStore, OperationRow, OperationState, Owner, VmQuery, VmRow, Write};
use crate::testkit::cx;
use crate::types::{UnixMillis, VmId};

/// Page after page, every VM once.
pub async fn vms_are_paged_in_the_order_of_their_ids<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let mut want = Vec::new();
    for nth in 0..7 {
        want.push(scene.insert("ann", &format!("vm{nth}")).await.id);
    }
    let edges = [
        VmRow { id: VmId::from_bits(0), ..scene.vm("ann", "zero") },
        VmRow { id: VmId::from_bits(u128::MAX), ..scene.vm("ann", "most") },
    ];
    for edge in edges {
        want.push(edge.id);
        scene.write(vec![Write::InsertVm(edge)]).await.unwrap();
    }
    want.sort_unstable();
    let mut query = VmQuery { limit: 2, ..VmQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = scene.store.vms(&cx(), &query).await.unwrap();
        assert!(page.len() <= 2, "no page is longer than asked for");
        let Some(last) = page.last() else { break };
        query.after = Some(last.id);
        seen.extend(page.iter().map(|row| row.id));
    }
    assert_eq!(seen, want);
}

/// Each filter alone, and together.
pub async fn vms_are_filtered_by_owner_work_and_tombstones<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let settle = |row: VmRow| VmRow { settled: row.generation, ..row };
    let work = scene.insert("ann", "work").await;
    let done = scene.insert("ann", "done").await;
    scene.write(vec![Write::UpdateVm(settle(done.clone()))]).await.unwrap();
    let tomb = scene.insert("ann", "tomb").await;
    scene.destroy(&settle(tomb.clone()), 10).await;
    let bobs = scene.insert("bob", "bobs").await;
    let bobs_tomb = scene.insert("bob", "bobstomb").await;
    scene.destroy(&bobs_tomb, 10).await;
    let ask = async |owner: Option<&str>, unsettled, deleted| {
        let owner = owner.map(|owner| Owner(owner.to_owned()));
        let query = VmQuery { owner, unsettled, deleted, after: None, limit: 100, kept: false };
        scene.store.vms(&cx(), &query).await.unwrap().into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let sorted = |rows: &[&VmRow]| {
        let mut ids: Vec<VmId> = rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ask(None, false, false).await, sorted(&[&work, &done, &bobs]));
    assert_eq!(ask(None, false, true).await, sorted(&[&work, &done, &tomb, &bobs, &bobs_tomb]));
    assert_eq!(ask(Some("ann"), false, false).await, sorted(&[&work, &done]));
    assert_eq!(ask(Some("ann"), false, true).await, sorted(&[&work, &done, &tomb]));
    assert_eq!(ask(None, true, false).await, sorted(&[&work, &bobs]));
    assert_eq!(ask(Some("ann"), true, false).await, sorted(&[&work]));
    assert_eq!(ask(Some("nobody"), false, true).await, []);
}

/// A tombstone is found by its id only.
pub async fn a_name_finds_only_what_lives<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let tomb = scene.destroy(&vm, 10).await;
    assert_eq!(scene.store.vm_by_name(&cx(), &vm.name).await.unwrap(), None);
    assert_eq!(scene.read(vm.id).await, Some(tomb));
    assert_eq!(scene.read(scene.env.vm_id()).await, None);
}

/// In the order of acceptance, without those that ended.
pub async fn pending_operations_come_oldest_first<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let other = scene.insert("ann", "other").await;
    let mut accepted = Vec::new();
    for _ in 0..5 {
        let operation = scene.operation(&vm, None);
        scene.write(vec![Write::InsertOperation(operation.clone())]).await.unwrap();
        scene.write(vec![Write::InsertOperation(scene.operation(&other, None))]).await.unwrap();
        accepted.push(operation);
    }
    let ended = OperationRow { state: OperationState::Succeeded, ended: Some(UnixMillis(5)), ..accepted.remove(2) };
    scene.write(vec![Write::UpdateOperation(ended.clone())]).await.unwrap();
    assert_eq!(scene.store.pending_operations(&cx(), vm.id).await.unwrap(), accepted);
    assert_eq!(scene.store.operation(&cx(), ended.id).await.unwrap(), Some(ended));
}

/// One owner's keys say nothing about another's.
pub async fn a_key_finds_its_operation_for_its_owner_only<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let operation = scene.operation(&vm, Some("key"));
    scene.write(vec![Write::InsertOperation(operation.clone())]).await.unwrap();
    let ask = async |owner: &str, key: &str| {
        scene.store.operation_by_key(&cx(), &Owner(owner.to_owned()), key).await.unwrap()
    };
    assert_eq!(ask("ann", "key").await, Some(operation));
    assert_eq!(ask("bob", "key").await, None);
    assert_eq!(ask("ann", "KEY").await, None);
}

/// Whoever was told of a commit reads it.
pub async fn reads_see_every_commit_that_returned<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let mut calls = tokio::task::JoinSet::new();
    for nth in 0..20 {
        let (store, vm) = (scene.store.clone(), scene.vm("ann", &format!("vm{nth}")));
        calls.spawn(async move {
            let change = crate::store::FleetChange { writes: vec![Write::InsertVm(vm.clone())], ..Default::default() };
            store.commit(&cx(), &change).await.unwrap();
            store.vm_by_name(&cx(), &vm.name).await.unwrap().is_some()
        });
    }
    assert!(calls.join_all().await.into_iter().all(|seen| seen));
}
