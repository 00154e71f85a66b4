//! What no row explains: finished where a tombstone says so, set aside otherwise, never removed on absence of word.

use std::collections::BTreeSet;

use super::Ports;
use crate::env::CallCx;
use crate::error::Result;
use crate::types::{StopHow, VmId, VolumeId};

/// What a sweep has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Things of VMs that have a tombstone, now removed.
    pub finished: Vec<VmId>,
    /// Volumes that nobody can explain, now set aside.
    pub quarantined: Vec<VolumeId>,
    /// Processes, ports and doors that nobody can explain, left as they are.
    pub unexplained: Vec<VmId>,
}

/// Looks at everything on the host that bears our names. In a correct engine it finds nothing to set aside: what it
/// sets aside is an alarm.
///
/// # Errors
/// Any failed list ends the sweep before it changes anything: absence of word is not word of absence.
pub async fn sweep(ports: &Ports, cx: &CallCx) -> Result<Orphans> {
    let volumes = ports.storage.volumes(cx).await?;
    let mut seen: BTreeSet<VmId> = ports.hypervisor.list(cx).await?.into_iter().collect();
    let processes = seen.clone();
    seen.extend(ports.network.list(cx).await?);
    seen.extend(ports.guest.list(cx).await?);
    seen.extend(volumes.iter().map(|volume| volume.vm));

    let mut found = Orphans::default();
    for vm in seen {
        if ports.journal.row(cx, vm).await?.is_some() {
            continue;
        }
        let own: Vec<VolumeId> = volumes.iter().copied().filter(|volume| volume.vm == vm).collect();
        if ports.journal.buried(cx, vm).await? {
            ports.hypervisor.ensure_absent(cx, vm, &StopHow::Force).await?;
            ports.network.ensure_absent(cx, vm).await?;
            ports.guest.ensure_absent(cx, vm).await?;
            for volume in own {
                ports.storage.ensure_volume_absent(cx, volume).await?;
            }
            found.finished.push(vm);
            continue;
        }
        // A row may have come while the lists were read; nothing is set aside that has one now.
        if ports.journal.row(cx, vm).await?.is_some() {
            continue;
        }
        if processes.contains(&vm) || own.is_empty() {
            tracing::error!(%vm, "no row explains this VM's processes or ports; they are left as they are");
            found.unexplained.push(vm);
            continue;
        }
        for volume in own {
            tracing::error!(%volume, "no row explains this volume; it is set aside, not removed");
            ports.storage.quarantine(cx, volume).await?;
            found.quarantined.push(volume);
        }
    }
    Ok(found)
}
