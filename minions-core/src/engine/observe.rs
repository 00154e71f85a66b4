//! What the ports say of one VM, and the little that only this engine knows.

use tokio::join;

use super::Ports;
use crate::env::CallCx;
use crate::error::Result;
use crate::guest::DoorState;
use crate::hypervisor::VmmStatus;
use crate::network::PortStatus;
use crate::storage::VolumeStatus;
use crate::store::JournalRow;
use crate::types::{DiskRole, Generation, ImageInfo, VolumeId};

/// What one engine has seen happen and no port can tell. Lost with the engine, which then asks again. Most hold the
/// epoch of the monitor that they are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// This engine started the guest, so it will announce itself.
    pub started: Option<u64>,
    /// A guest that ran already was asked to prove itself.
    pub probed: Option<u64>,
    /// The guest has proven itself.
    pub proven: Option<u64>,
    /// The guest was asked to shut down.
    pub asked: Option<u64>,
    /// The guest was granted its time to shut down.
    pub waited: Option<u64>,
    /// The generation in which this engine made the monitor: its disks are as they were asked for then.
    pub prepared: Option<Generation>,
    /// The same, once its guest was started: it has seen them so.
    pub booted: Option<Generation>,
    /// The generation whose disks a guest that ran already was shown.
    pub shown: Option<Generation>,
    /// The generation in which it was then asked to make its filesystems as large.
    pub grown: Option<Generation>,
}

/// What is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its monitor.
    pub vmm: Option<VmmStatus>,
    /// Its root disk.
    pub root: Option<VolumeStatus>,
    /// Its data disk.
    pub data: Option<VolumeStatus>,
    /// Root disks whose place another one has taken.
    pub old_roots: Vec<VolumeId>,
    /// Its network port.
    pub port: Option<PortStatus>,
    /// Its door.
    pub door: DoorState,
    /// Its image.
    pub image: Option<ImageInfo>,
    /// Whether a guest that runs can be shown larger disks.
    pub online_growth: bool,
    /// What this engine knows besides.
    pub known: Known,
}

impl Observed {
    /// A host on which nothing of a VM is.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            vmm: None,
            root: None,
            data: None,
            old_roots: Vec::new(),
            port: None,
            door: DoorState::Absent,
            image: None,
            online_growth: false,
            known: Known {
                started: None,
                probed: None,
                proven: None,
                asked: None,
                waited: None,
                prepared: None,
                booted: None,
                shown: None,
                grown: None,
            },
        }
    }
}

/// Asks every port at once.
pub(super) async fn observe(ports: &Ports, cx: &CallCx, row: &JournalRow, known: Known) -> Result<Observed> {
    let (vm, spec) = (row.entry.vm, &row.entry.spec);
    let taken_over = async {
        match spec.data_from {
            Some(from) => ports.storage.volumes_of(cx, from).await,
            None => Ok(Vec::new()),
        }
    };
    let (vmm, own, taken_over, port, door, images) = join!(
        ports.hypervisor.observe(cx, vm),
        ports.storage.volumes_of(cx, vm),
        taken_over,
        ports.network.observe(cx, vm),
        ports.guest.observe(cx, vm),
        ports.storage.images(cx),
    );
    let image = images?.into_iter().find(|image| image.id == spec.image);
    let (own, taken_over) = (own?, taken_over?);
    let old_roots = own.iter().map(|volume| volume.id);
    let old_roots = old_roots.filter(|id| id.role == DiskRole::Root && id.turn < spec.root_turn).collect();
    let (root_id, data_id) = (spec.root_volume(vm), spec.data_volume(vm));
    let mut root = None;
    let mut data = None;
    for volume in own.into_iter().chain(taken_over) {
        if volume.id == root_id {
            root = Some(volume);
        } else if Some(volume.id) == data_id {
            data = Some(volume);
        }
    }
    let online_growth = ports.hypervisor.capabilities().online_growth;
    Ok(Observed { vmm: vmm?, root, data, old_roots, port: port?, door: door?, image, online_growth, known })
}
