//! What no row explains: finished where a tombstone says so, set aside otherwise, never removed on absence of word.

use std::collections::BTreeSet;

use super::Ports;
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{DiskRole, StopHow, VmId, VolumeId};

/// What a sweep has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Things of VMs that have a tombstone, now removed.
    pub finished: Vec<VmId>,
    /// Volumes that nobody can explain, now set aside.
    pub quarantined: Vec<VolumeId>,
    /// Things that nobody can explain and that cannot be set aside, or that could not be dealt with now.
    pub left: Vec<VmId>,
}

/// Looks at everything on the host that bears our names. In a correct engine it finds nothing to set aside: what it
/// sets aside is an alarm.
///
/// # Errors
/// Any failed list ends the sweep before it changes anything: absence of word is not word of absence. So does a journal
/// that explains nothing at all of a host that is not empty: `Denied` reason `journal_lost`.
pub async fn sweep(ports: &Ports, cx: &CallCx) -> Result<Orphans> {
    let volumes = ports.storage.volumes(cx).await?;
    let processes: BTreeSet<VmId> = ports.hypervisor.list(cx).await?.into_iter().collect();
    let mut seen = processes.clone();
    seen.extend(ports.network.list(cx).await?);
    seen.extend(ports.guest.list(cx).await?);
    let mut volumes_only: BTreeSet<VmId> = volumes.iter().map(|volume| volume.vm).collect();
    volumes_only.retain(|vm| !seen.contains(vm));
    seen.extend(&volumes_only);

    let mut buried = Vec::new();
    let mut unexplained = Vec::new();
    let empty = ports.journal.rows(cx, None, 1).await?.is_empty();
    for vm in seen {
        if ports.journal.row(cx, vm).await?.is_some() {
            continue;
        }
        match ports.journal.tombstone(cx, vm).await? {
            Some(tombstone) => buried.push((vm, tombstone)),
            None => unexplained.push(vm),
        }
    }
    if empty && buried.is_empty() && !unexplained.is_empty() {
        let message = format!(
            "the journal is empty, but this host holds {} VMs; restore the journal from a backup, or move their files away",
            unexplained.len()
        );
        return Err(Error::new(ErrorKind::Denied, message).with_reason("journal_lost"));
    }

    let mut found = Orphans::default();
    for (vm, tombstone) in buried {
        let rest: Vec<VolumeId> = volumes.iter().copied().filter(|volume| volume.vm == vm).collect();
        let kept = |volume: &VolumeId| tombstone.keeps_data && volume.role == DiskRole::Data;
        if volumes_only.contains(&vm) && rest.iter().all(kept) {
            continue;
        }
        match finish(ports, cx, vm, rest.into_iter().filter(|volume| !kept(volume))).await {
            Ok(()) => found.finished.push(vm),
            Err(error) => {
                tracing::warn!(%vm, error = %error.chain(), "cannot remove what is left of a destroyed VM; will try again");
                found.left.push(vm);
            }
        }
    }
    for vm in unexplained {
        if processes.contains(&vm) {
            tracing::error!(%vm, "no row explains this VM's processes; they are left as they are");
            found.left.push(vm);
            continue;
        }
        for volume in volumes.iter().copied().filter(|volume| volume.vm == vm) {
            tracing::error!(%volume, "no row explains this volume; it is set aside, not removed");
            ports.storage.quarantine(cx, volume).await?;
            found.quarantined.push(volume);
        }
        if !volumes.iter().any(|volume| volume.vm == vm) {
            tracing::error!(%vm, "no row explains this VM's ports; they are left as they are");
            found.left.push(vm);
        }
    }
    Ok(found)
}

/// A tombstone says that absence was asked for, durably: what came back or was left is removed.
async fn finish(ports: &Ports, cx: &CallCx, vm: VmId, volumes: impl Iterator<Item = VolumeId>) -> Result<()> {
    ports.hypervisor.ensure_absent(cx, vm, &StopHow::Force).await?;
    ports.network.ensure_absent(cx, vm).await?;
    ports.guest.ensure_absent(cx, vm).await?;
    for volume in volumes {
        ports.storage.ensure_volume_absent(cx, volume).await?;
    }
    Ok(())
}
