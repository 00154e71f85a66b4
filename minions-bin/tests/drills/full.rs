//! Disks that are full, and databases that are not what they were (RP-5, RP-6): what runs goes on, what cannot be done
//! is said, and when there is room again the service goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use minions_core::api::v1;
use minions_core::service::{ControlPlane, VmAction};
use minions_core::types::VmState;
use minions_core::{Effect, ErrorKind};

use crate::daemon::{Programs, Site, me};
use crate::{SOON, census};

/// A small disk in a folder, for as long as it is wanted. Where nobody may mount one, the test is skipped, and says so.
struct Disk(PathBuf);

impl Disk {
    fn at(test: &str, dir: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(dir).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"])
            .arg(dir)
            .output();
        match mounted {
            Ok(mounted) if mounted.status.success() => Some(Self(dir.to_owned())),
            _ => {
                println!("SKIP {test}: no disk can be mounted here; run it as root");
                None
            }
        }
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Takes all that is left of it.
    fn fill(&self) -> Filled {
        let path = self.0.join("fill");
        let mut piece = vec![1; 1 << 16];
        let mut file = std::fs::File::create(&path).unwrap();
        while !piece.is_empty() {
            if std::io::Write::write_all(&mut file, &piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        Filled(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Gives it back.
struct Filled(PathBuf);

impl Drop for Filled {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn entered(site: &Site, name: &str) {
    site.ok(&["exec", name, "-n", "--", "true"]);
}

/// The disks that are there, and how many bytes each says it has.
fn disks(site: &Site) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for folder in ["volumes", "quarantine"] {
        let mut left = vec![site.dir().join(folder)];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let (path, meta) = (entry.path(), entry.metadata().unwrap());
                if meta.is_dir() {
                    left.push(path);
                } else {
                    found.insert(path, meta.len());
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn rp_5_a_full_disk_below_the_databases_refuses_changes_and_stops_no_vm() {
    let Some(programs) = Programs::stub("rp_5") else { return };
    let mut site = Site::new(programs);
    let Some(disk) = Disk::at("rp_5", &site.dir().join("state"), "8m") else { return };
    let daemon = site.start();
    site.image().await;
    let vm = site.create("a").await;
    let before = census::of(&site.dir(), vm);
    let filled = disk.fill();
    // The log that SQLite appends to has some room of its own left: it is used up at some time.
    let mut refused = None;
    for number in 0..200 {
        match site.plane.create(&me(), &site.new_vm(&format!("x{number}")), None).await {
            Ok(_) => {}
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("there is no room");
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Unavailable, Some("store_full")), "{}", refused.chain());
    assert_eq!(refused.effect(), Effect::None, "it is certain that nothing happened: {}", refused.chain());
    entered(&site, "a");
    assert_eq!(site.plane.vm(&me(), &"a".parse().unwrap()).await.unwrap().state, VmState::Running);
    assert_eq!(census::of(&site.dir(), vm), before);
    drop(filled);
    // What was acknowledged comes to its end, and new things are taken on.
    site.create("after").await;
    let page = site.plane.vms(&me(), &v1::ListVms { limit: Some(200), ..v1::ListVms::default() }).await.unwrap();
    for vm in &page.vms {
        let gone = site.act(vm.id, &VmAction::Destroy(v1::DestroyVm::default()), None).await;
        site.succeeds(gone.id).await;
    }
    assert!(disks(&site).is_empty(), "{:?}", disks(&site));
    daemon.end();
    drop(site);
    drop(disk);
}

#[tokio::test]
async fn rp_5_a_full_disk_below_images_and_disks_fails_what_needs_room_and_leaves_nothing_of_it() {
    let Some(programs) = Programs::stub("rp_5") else { return };
    let mut site = Site::new(programs.clone());
    let Some(disk) = Disk::at("rp_5", &site.dir(), "64m") else { return };
    programs.link(&site.dir());
    let daemon = site.start();
    site.image().await;
    let vm = site.create("a").await;
    let (before, whole) = (census::of(&site.dir(), vm), disks(&site));
    let filled = disk.fill();
    let created = site.plane.create(&me(), &site.new_vm("b"), None).await;
    match created {
        // The databases lie there too.
        Err(error) => assert_eq!(error.reason(), Some("store_full"), "{}", error.chain()),
        Ok(operation) => {
            let until = tokio::time::Instant::now() + 6 * SOON;
            while tokio::time::Instant::now() < until {
                let now = site.plane.operation(&me(), operation.id, Duration::from_secs(2)).await.unwrap();
                assert_ne!(now.outcome, v1::OperationOutcome::Succeeded, "without room");
                if now.outcome != v1::OperationOutcome::Pending {
                    break;
                }
            }
        }
    }
    entered(&site, "a");
    assert_eq!(census::of(&site.dir(), vm), before);
    drop(filled);
    site.create("after").await;
    for name in ["b", "after"] {
        if let Ok(vm) = site.plane.vm(&me(), &name.parse().unwrap()).await {
            let gone = site.act(vm.id, &VmAction::Destroy(v1::DestroyVm::default()), None).await;
            site.succeeds(gone.id).await;
        }
    }
    assert_eq!(disks(&site), whole, "nothing half is left");
    assert_eq!(std::fs::read_dir(site.dir().join("tmp")).unwrap().count(), 0);
    entered(&site, "a");
    daemon.end();
    drop(site);
    drop(disk);
}

#[tokio::test]
async fn rp_5_a_full_disk_below_the_logs_loses_logs_and_nothing_else() {
    let Some(programs) = Programs::stub("rp_5") else { return };
    let mut site = Site::new(programs);
    let Some(disk) = Disk::at("rp_5", &site.dir().join("vms"), "1m") else { return };
    let daemon = site.start();
    site.image().await;
    let vm = site.create("a").await;
    let before = census::of(&site.dir(), vm);
    let filled = disk.fill();
    let said = site.command(&["logs", "a"]).output().unwrap();
    assert!(said.status.code().is_some(), "it ends");
    entered(&site, "a");
    assert_eq!(census::of(&site.dir(), vm), before);
    drop(filled);
    site.ok(&["logs", "a"]);
    let gone = site.act(vm, &VmAction::Destroy(v1::DestroyVm::default()), None).await;
    site.succeeds(gone.id).await;
    daemon.end();
    drop(site);
    drop(disk);
}

/// The files of both databases.
fn databases(site: &Site) -> Vec<PathBuf> {
    let state = site.dir().join("state");
    let files = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().contains(".db")).collect();
    files.sort();
    files
}

/// Starts the daemon, which may refuse to; whatever it does, what runs and what is on disks stays.
async fn nothing_is_lost(site: &mut Site, what: &str, must_refuse: bool) {
    let (before, whole) = (census::processes(&site.dir()), disks(site));
    let mut child = site.spawn();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let started = line.starts_with("ready:");
    if started {
        // What it does by itself at its start, it does now.
        tokio::time::sleep(Duration::from_secs(2)).await;
        crate::daemon::signal(&child, rustix::process::Signal::TERM);
    }
    let ended = child.wait().unwrap();
    println!("drill: {what}: started={started} {ended}");
    assert!(!(started && must_refuse), "{what}: it was not refused: {}", site.log());
    assert_eq!(started, ended.success(), "{what}: {}", site.log());
    let monitors = |all: Vec<census::Process>| -> Vec<_> { all.into_iter().map(|process| process.pid).collect() };
    assert_eq!(monitors(census::processes(&site.dir())), monitors(before), "{what}: a VM was ended");
    let sizes = |disks: BTreeMap<PathBuf, u64>| {
        let mut sizes: Vec<u64> = disks.into_values().collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(disks(site)), sizes(whole), "{what}: a disk is gone");
}

#[tokio::test]
async fn rp_6_databases_that_are_read_only_spoiled_cut_or_old_cost_no_vm() {
    let Some(programs) = Programs::stub("rp_6") else { return };
    let mut site = Site::new(programs);
    let Some(disk) = Disk::at("rp_6", &site.dir().join("state"), "64m") else { return };
    let daemon = site.start();
    site.image().await;
    site.create("a").await;
    daemon.end();
    let copy = |site: &Site| -> Vec<(PathBuf, Vec<u8>)> {
        databases(site).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let put = |site: &Site, files: &[(PathBuf, Vec<u8>)]| {
        databases(site).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    };
    let old = copy(&site);
    let daemon = site.start();
    site.create("b").await;
    // Not in an orderly way: what was committed last is in the logs beside the databases.
    daemon.kill();
    let good = copy(&site);
    assert!(good.iter().any(|(path, bytes)| path.to_string_lossy().ends_with("-wal") && !bytes.is_empty()));

    disk.remount("ro");
    nothing_is_lost(&mut site, "read only", true).await;
    disk.remount("rw");

    for name in ["fleet.db", "journal.db"] {
        for (path, bytes) in &good {
            if path.ends_with(name) && bytes.len() > 8192 {
                let mut spoiled = bytes.clone();
                spoiled[4096..4160].fill(0xa5);
                // With no log that holds a good page in its place.
                put(&site, &old);
                std::fs::write(path, &spoiled).unwrap();
                nothing_is_lost(&mut site, &format!("a spoiled page of {name}"), false).await;
            }
        }
    }

    put(&site, &good);
    for path in databases(&site).iter().filter(|path| path.to_string_lossy().ends_with("-wal")) {
        std::fs::remove_file(path).unwrap();
    }
    nothing_is_lost(&mut site, "without the logs", false).await;

    put(&site, &old);
    nothing_is_lost(&mut site, "an old backup of both", false).await;

    // The right ones are put back, and everything is as it was.
    put(&site, &good);
    let quarantine = site.dir().join("quarantine");
    let set_aside = std::fs::read_dir(&quarantine).map_or(0, |entries| entries.count());
    println!("drill: {set_aside} disks were set aside");
    let daemon = site.start();
    for name in ["a", "b"] {
        entered(&site, name);
    }
    daemon.end();
    drop(site);
    drop(disk);
}
