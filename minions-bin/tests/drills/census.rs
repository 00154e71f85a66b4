//! What is really there: processes, files, leases.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minions_core::env::{CallCx, Env};
use minions_core::store::Journal;
use minions_core::store::LeasePool;
use minions_core::store::sqlite::SqliteJournal;
use minions_core::types::{AddressPool, VmId};

/// A process, for as long as it is the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: i32,
    /// When it began, in the kernel's ticks.
    pub began: u64,
    pub words: String,
}

/// The processes whose words name a folder, without the daemon and those that talk to it.
pub fn processes(dir: &Path) -> Vec<Process> {
    let dir = format!("{}/", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the state first, the beginning as the twentieth.
        let began = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok());
        if let (true, Some(began)) = (words.contains(&dir), began) {
            found.push(Process { pid, began, words });
        }
    }
    found.sort();
    found
}

/// The monitors and helpers of one VM.
pub fn of(dir: &Path, vm: VmId) -> Vec<Process> {
    processes(dir).into_iter().filter(|process| process.words.contains(&vm.to_string())).collect()
}

/// The monitor of one VM.
pub fn monitor(dir: &Path, vm: VmId) -> Option<Process> {
    of(dir, vm).into_iter().find(|process| process.words.contains(&format!("{vm}@")))
}

fn names(dir: PathBuf) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What is there that those VMs do not explain, and what of them is not there, while no daemon runs.
pub async fn differences(dir: &Path, running: &BTreeSet<VmId>, stopped: &BTreeSet<VmId>) -> Vec<String> {
    let mut found = Vec::new();
    let mut explained = BTreeSet::new();
    for vm in running {
        let own = of(dir, *vm);
        if own.len() != 2 || monitor(dir, *vm).is_none() {
            found.push(format!("{vm} runs, and has the processes {own:?}"));
        }
        explained.extend(own);
    }
    found.extend(
        processes(dir).into_iter().filter(|one| !explained.contains(one)).map(|one| format!("nobody explains {one:?}")),
    );
    let live: BTreeSet<VmId> = running | stopped;
    let due = |what: &str, names: BTreeSet<String>, due: BTreeSet<String>, found: &mut Vec<String>| {
        if names != due {
            let (more, less): (Vec<_>, Vec<_>) = (names.difference(&due).collect(), due.difference(&names).collect());
            found.push(format!("{what}: nobody explains {more:?}, missing is {less:?}"));
        }
    };
    let volumes = live.iter().flat_map(|vm| [format!("{vm}.root"), format!("{vm}.data")]).collect();
    due("volumes", names(dir.join("volumes")), volumes, &mut found);
    due("quarantine", names(dir.join("quarantine")), BTreeSet::new(), &mut found);
    due("unfinished", names(dir.join("tmp")), BTreeSet::new(), &mut found);
    // A folder may stay while its VM does; whatever is in it belongs to one that runs.
    for folder in names(dir.join("vms")) {
        let known = live.iter().any(|vm| folder == minions_core::types::names::vm_dir(*vm));
        let busy = running.iter().any(|vm| folder == minions_core::types::names::vm_dir(*vm));
        let inside = names(dir.join("vms").join(&folder));
        if !known || (!busy && !inside.is_empty()) {
            found.push(format!("vms/{folder}: nobody explains {inside:?}"));
        }
    }
    let ports = names(dir.join("ports"));
    if ports.len() != running.len() {
        found.push(format!("{} VMs run, and these are the ports: {ports:?}", running.len()));
    }
    let leases = leases(dir).await;
    if leases != live {
        found.push(format!("the VMs are {live:?}, and the leases {leases:?}"));
    }
    found
}

/// The VMs that have a lease in the journal.
async fn leases(dir: &Path) -> BTreeSet<VmId> {
    let pool = LeasePool {
        addresses: vec![AddressPool { first: "10.213.0.20".parse().unwrap(), last: "10.213.255.254".parse().unwrap() }]
            .into(),
        uid_first: 200_000,
        uid_count: 65_536,
        rest: LeasePool::REST,
    };
    let journal = SqliteJournal::open(dir.join("state/journal.db"), pool, Env::system().clock).await.unwrap();
    let rows = journal.rows(&CallCx::new("census", Duration::from_secs(10)), None, 1_000).await.unwrap();
    journal.close().await.unwrap();
    rows.iter().map(|row| row.entry.vm).collect()
}
