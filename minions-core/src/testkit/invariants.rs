//! What must hold at every moment, as functions over what is: the host's census, the journal's rows, and what is
//! reported. Each is named after its number in the promises, and returns what breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::Hash;

use crate::hypervisor::VmmPhase;
use crate::memory::Census;
use crate::store::fleet::VmRow;
use crate::store::journal::JournalRow;
use crate::types::{DiskRole, Goal, UnixMillis, VmId, VmState, VolumeId};

/// A promise that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, such as `INV-3`.
    pub promise: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

fn broken(promise: &'static str, what: impl Into<String>) -> Violation {
    Violation { promise, what: what.into() }
}

/// Every promise that can be checked at any moment, also in the middle of work.
#[must_use]
pub fn always(
    census: &Census,
    journal: &[JournalRow],
    fleet: &[VmRow],
    reported: &[(VmId, VmState)],
) -> Vec<Violation> {
    let mut all = inv_1_everything_is_explained(census, journal, &kept(fleet));
    all.extend(inv_2_nothing_is_shared(census, journal, fleet));
    all.extend(inv_3_a_volume_has_one_writer(census));
    all.extend(inv_9_nothing_is_reported_better_than_it_is(census, reported));
    all.extend(inv_10_no_port_is_up_without_its_rules(census));
    all
}

/// The data disks that tombstones keep, or that were kept and are another VM's now.
#[must_use]
pub fn kept(fleet: &[VmRow]) -> Vec<VolumeId> {
    let taken = fleet.iter().filter(|row| row.deleted.is_none()).filter_map(|row| row.spec.data_from);
    let left = fleet.iter().filter(|row| row.kept || row.goal == Goal::Absent { keep_data: true }).map(|row| row.id);
    taken.chain(left).map(VolumeId::data).collect()
}

/// INV-1: everything on the host is explained by a row of its journal, or is a data disk that was kept.
#[must_use]
pub fn inv_1_everything_is_explained(census: &Census, journal: &[JournalRow], kept: &[VolumeId]) -> Vec<Violation> {
    let rows: BTreeSet<VmId> = journal.iter().map(|row| row.entry.vm).collect();
    let monitors = census.monitors.iter().map(|one| ("a monitor", one.id));
    let residues = census.residues.iter().map(|id| ("the files of a dead monitor", *id));
    let ports = census.ports.iter().map(|one| ("a network port", one.config.id));
    let doors = census.doors.iter().map(|one| ("a door", one.id));
    let volumes = census.volumes.iter().filter(|one| !one.quarantined && !kept.contains(&one.id));
    let volumes = volumes.map(|one| ("a volume", one.id.vm));
    monitors
        .chain(residues)
        .chain(ports)
        .chain(doors)
        .chain(volumes)
        .filter(|(_, vm)| !rows.contains(vm))
        .map(|(what, vm)| broken("INV-1", format!("{what} of {vm} that no row explains")))
        .collect()
}

fn shared<T: Ord + Hash + fmt::Debug>(what: &str, all: impl Iterator<Item = (T, VmId)>) -> Vec<Violation> {
    let mut owners: BTreeMap<T, VmId> = BTreeMap::new();
    let mut found = Vec::new();
    for (thing, vm) in all {
        if let Some(other) = owners.get(&thing).filter(|other| **other != vm) {
            found.push(broken("INV-2", format!("{other} and {vm} share the {what} {thing:?}")));
        }
        owners.insert(thing, vm);
    }
    found
}

/// INV-2: no two rows or live things share an address, a context id, a user, a name of a host object, or a name.
#[must_use]
pub fn inv_2_nothing_is_shared(census: &Census, journal: &[JournalRow], fleet: &[VmRow]) -> Vec<Violation> {
    let rows = || journal.iter().map(|row| (&row.lease, row.entry.vm));
    let ports = || census.ports.iter().map(|port| &port.config);
    let monitors = || census.monitors.iter();
    [
        shared("address", rows().map(|(lease, vm)| (lease.ip, vm)).chain(ports().map(|port| (port.ip, port.id)))),
        shared(
            "link address",
            rows().map(|(lease, vm)| (lease.mac, vm)).chain(ports().map(|port| (port.mac, port.id))),
        ),
        shared("context id", rows().map(|(lease, vm)| (lease.cid, vm)).chain(monitors().map(|one| (one.cid, one.id)))),
        shared("user", rows().map(|(lease, vm)| (lease.uid, vm)).chain(monitors().map(|one| (one.uid, one.id)))),
        shared("host name", rows().map(|(_, vm)| (vm.short(), vm))),
        shared("name", fleet.iter().filter(|row| row.deleted.is_none()).map(|row| (row.name.clone(), row.id))),
    ]
    .concat()
}

/// INV-3: at most one process ever holds a volume, and nobody tried to be the second.
#[must_use]
pub fn inv_3_a_volume_has_one_writer(census: &Census) -> Vec<Violation> {
    let crowded = census.volumes.iter().filter(|volume| census.openers(volume.id) > 1);
    let crowded = crowded.map(|volume| broken("INV-3", format!("{} is open twice", volume.id)));
    crowded.chain(census.offences.iter().map(|what| broken("INV-3", what.clone()))).collect()
}

/// INV-5 and INV-6, between two moments without work by guests: a volume that is still there has its bytes, and one
/// that is gone was allowed to go. In quarantine it is still there.
#[must_use]
pub fn inv_5_and_6_bytes_are_kept(
    before: &Census,
    after: &Census,
    may_go: impl Fn(VolumeId) -> bool,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for volume in before.volumes.iter().filter(|volume| volume.whole) {
        let mut now = after.volumes.iter().filter(|other| other.id == volume.id).peekable();
        if may_go(volume.id) {
            continue;
        }
        if now.peek().is_none() {
            found.push(broken("INV-6", format!("{} is gone without a durable goal of absence", volume.id)));
        } else if !now.any(|other| other.fingerprint == volume.fingerprint) {
            found.push(broken("INV-5", format!("the bytes of {} changed", volume.id)));
        }
    }
    found
}

/// INV-9: what is reported is never better than what is.
#[must_use]
pub fn inv_9_nothing_is_reported_better_than_it_is(census: &Census, reported: &[(VmId, VmState)]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (vm, state) in reported {
        let monitor = census.monitor(*vm);
        match state {
            VmState::Running => {
                let Some(monitor) = monitor.filter(|monitor| monitor.phase == VmmPhase::Running) else {
                    found.push(broken("INV-9", format!("{vm} is reported running, and has no monitor that runs")));
                    continue;
                };
                let has_root = monitor.volumes.iter().any(|id| id.vm == *vm && id.role == DiskRole::Root);
                // A data disk may have been taken over; that nobody else has it, INV-3 tells.
                let own = monitor.volumes.iter().all(|id| id.vm == *vm || id.role == DiskRole::Data);
                let has_port = census.ports.iter().any(|port| port.config.id == *vm && port.up);
                if !has_root || !own || (monitor.nic && !has_port) {
                    found.push(broken("INV-9", format!("{vm} is reported running without its own disks and port")));
                }
            }
            VmState::Stopped if monitor.is_some() => {
                found.push(broken("INV-9", format!("{vm} is reported stopped, and has a process")));
            }
            _ => {}
        }
    }
    found
}

/// INV-10: the rules stand whenever a port is up.
#[must_use]
pub fn inv_10_no_port_is_up_without_its_rules(census: &Census) -> Vec<Violation> {
    let bare = census.ports.iter().filter(|port| port.up && !port.pinned);
    bare.map(|port| broken("INV-10", format!("the port of {} is up without its rules", port.config.id))).collect()
}

/// What must not change for a VM that nobody asked anything of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bystander {
    vm: VmId,
    process: Option<(u32, UnixMillis)>,
    bytes: Vec<(VolumeId, [u8; 32])>,
}

impl Bystander {
    /// A VM as it is now.
    #[must_use]
    pub fn of(census: &Census, vm: VmId) -> Self {
        let volumes = census.volumes.iter().filter(|volume| volume.id.vm == vm && !volume.quarantined);
        Self {
            vm,
            process: census.monitor(vm).map(|monitor| (monitor.pid, monitor.since)),
            bytes: volumes.map(|volume| (volume.id, volume.fingerprint)).collect(),
        }
    }

    /// INV-11: it has the same process and the same bytes as before.
    #[must_use]
    pub fn inv_11_was_left_alone(&self, census: &Census) -> Vec<Violation> {
        let now = Self::of(census, self.vm);
        let mut found = Vec::new();
        if now.process != self.process {
            found.push(broken(
                "INV-11",
                format!("{} had the process {:?}, now {:?}", self.vm, self.process, now.process),
            ));
        }
        if now.bytes != self.bytes {
            found.push(broken("INV-11", format!("the volumes of {} changed", self.vm)));
        }
        found
    }
}
