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
use crate::types::{ImageInfo, VolumeId};

/// What one engine has seen happen and no port can tell. Lost with the engine, which then asks again. Each holds the
/// epoch of the monitor it is about.
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
    /// Its network port.
    pub port: Option<PortStatus>,
    /// Its door.
    pub door: DoorState,
    /// Its image.
    pub image: Option<ImageInfo>,
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
            port: None,
            door: DoorState::Absent,
            image: None,
            known: Known { started: None, probed: None, proven: None, asked: None, waited: None },
        }
    }
}

/// Asks every port at once.
pub(super) async fn observe(ports: &Ports, cx: &CallCx, row: &JournalRow, known: Known) -> Result<Observed> {
    let vm = row.entry.vm;
    let (vmm, root, data, port, door, images) = join!(
        ports.hypervisor.observe(cx, vm),
        ports.storage.volume(cx, VolumeId::root(vm)),
        ports.storage.volume(cx, VolumeId::data(vm)),
        ports.network.observe(cx, vm),
        ports.guest.observe(cx, vm),
        ports.storage.images(cx),
    );
    let image = images?.into_iter().find(|image| image.id == row.entry.spec.image);
    Ok(Observed { vmm: vmm?, root: root?, data: data?, port: port?, door: door?, image, known })
}
