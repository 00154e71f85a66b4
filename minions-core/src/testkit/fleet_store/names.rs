//! Whose a name is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{Scene, refused};
use crate::error::ErrorKind;
use crate::store::fleet::{FleetChange, FleetStore, Guard, Owner, VmRow, Write};
use crate::testkit::cx;
use crate::types::UnixMillis;

/// One name, one VM, whoever asks.
pub async fn a_live_name_is_taken_once<S: FleetStore + ?Sized>(make: &impl AsyncFn(PathBuf) -> Arc<S>, folder: &Path) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    for owner in ["ann", "bob"] {
        let another = scene.vm(owner, "web");
        refused(scene.write(vec![Write::InsertVm(another)]).await, ErrorKind::AlreadyExists, "name_taken");
    }
    assert_eq!(scene.store.vm_by_name(&cx(), &vm.name).await.unwrap(), Some(vm));
}

/// An update is checked as an insert is.
pub async fn a_rename_to_a_taken_name_is_refused<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let web = scene.insert("ann", "web").await;
    let api = scene.insert("bob", "api2").await;
    let renamed = VmRow { name: web.name.clone(), ..api.clone() };
    refused(scene.write(vec![Write::UpdateVm(renamed)]).await, ErrorKind::AlreadyExists, "name_taken");
    let renamed = VmRow { name: "shop".parse().unwrap(), ..web.clone() };
    scene.write(vec![Write::UpdateVm(renamed.clone())]).await.unwrap();
    assert_eq!(scene.store.vm_by_name(&cx(), &web.name).await.unwrap(), None, "the old name is free at once");
    let takes = VmRow { name: web.name, ..api };
    scene.write(vec![Write::UpdateVm(takes.clone())]).await.unwrap();
    assert_eq!(scene.store.vm_by_name(&cx(), &takes.name).await.unwrap(), Some(takes));
}

/// Tombstones keep their names without holding them.
pub async fn a_tombstone_frees_its_name<S: FleetStore + ?Sized>(make: &impl AsyncFn(PathBuf) -> Arc<S>, folder: &Path) {
    let scene = Scene::new(make, folder).await;
    for round in 0..3 {
        let vm = scene.insert("ann", "web").await;
        scene.destroy(&vm, round).await;
    }
    let vm = scene.insert("bob", "web").await;
    assert_eq!(scene.store.vm_by_name(&cx(), &vm.name).await.unwrap(), Some(vm));
}

/// `Guard::NameRested`: by time, by owner, and by what was there before the writes.
pub async fn a_name_rests_for_others_than_its_last_owner<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    scene.destroy(&vm, 500).await;
    let attempt = |owner: &str, since| {
        let guard =
            Guard::NameRested { name: vm.name.clone(), owner: Owner(owner.to_owned()), since: UnixMillis(since) };
        let writes = vec![Write::InsertVm(scene.vm(owner, "web"))];
        scene.commit(FleetChange { guards: vec![guard], writes, events: Vec::new(), ..FleetChange::default() })
    };
    refused(attempt("bob", 499).await, ErrorKind::AlreadyExists, "name_taken");
    refused(attempt("bob", 500).await, ErrorKind::AlreadyExists, "name_taken");
    attempt("ann", 499).await.expect("its last owner need not wait");
    let again = scene.store.vm_by_name(&cx(), &vm.name).await.unwrap().unwrap();
    scene.destroy(&again, 600).await;
    attempt("bob", 601).await.expect("older tombstones no longer count");
}
