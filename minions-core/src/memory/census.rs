//! What is left on a simulated host, and what it looks like.

use hmac_sha256::Hash;

use super::InMemoryHost;
use super::model::{Model, Volume};
use crate::hypervisor::VmmPhase;
use crate::network::PortConfig;
use crate::types::{ByteSize, Cid, ImageId, UnixMillis, VmId, VolumeId};

/// Everything on a simulated host that a VM could leave behind, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Live monitors.
    pub monitors: Vec<MonitorCensus>,
    /// Ids whose monitor died and whose files nobody cleared.
    pub residues: Vec<VmId>,
    /// Volumes, those in quarantine too.
    pub volumes: Vec<VolumeCensus>,
    /// Network ports.
    pub ports: Vec<PortCensus>,
    /// Doors of the guest channel.
    pub doors: Vec<DoorCensus>,
    /// Images.
    pub images: Vec<ImageId>,
    /// Attempts at what no correct engine ever tries, such as a second writer of a volume.
    pub offences: Vec<String>,
}

/// A live monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorCensus {
    /// Whose it is.
    pub id: VmId,
    /// Which start of it.
    pub epoch: u64,
    /// Its process: never used twice on one host.
    pub pid: u32,
    /// When the process was started.
    pub since: UnixMillis,
    /// What it is doing.
    pub phase: VmmPhase,
    /// The volumes that it has open.
    pub volumes: Vec<VolumeId>,
    /// How large its guest sees its disks, the root first.
    pub shown: Vec<ByteSize>,
    /// Whether it has a network port open.
    pub nic: bool,
    /// Its context id.
    pub cid: Cid,
    /// The user that it runs as.
    pub uid: u32,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeCensus {
    /// Its name.
    pub id: VolumeId,
    /// Its bytes.
    pub size: ByteSize,
    /// Whether the call that made it came to its end.
    pub whole: bool,
    /// Equal exactly where the content is equal.
    pub fingerprint: [u8; 32],
    /// Whether it is set aside.
    pub quarantined: bool,
}

/// A network port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortCensus {
    /// What it was made as.
    pub config: PortConfig,
    /// Whether it is up.
    pub up: bool,
    /// Whether the rules that pin it to its addresses stand.
    pub pinned: bool,
}

/// A door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorCensus {
    /// Whose it is.
    pub id: VmId,
    /// The context id that it stands for.
    pub cid: Cid,
    /// Whether a live process listens.
    pub listening: bool,
}

impl Census {
    /// Whether nothing that belongs to a VM is left. Images are nobody's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.monitors.is_empty()
            && self.residues.is_empty()
            && self.volumes.is_empty()
            && self.ports.is_empty()
            && self.doors.is_empty()
    }

    /// Whether anything of a VM is left.
    #[must_use]
    pub fn holds(&self, id: VmId) -> bool {
        self.monitor(id).is_some()
            || self.residues.contains(&id)
            || self.volumes.iter().any(|volume| volume.id.vm == id)
            || self.ports.iter().any(|port| port.config.id == id)
            || self.doors.iter().any(|door| door.id == id)
    }

    /// The live monitor of a VM.
    #[must_use]
    pub fn monitor(&self, id: VmId) -> Option<&MonitorCensus> {
        self.monitors.iter().find(|monitor| monitor.id == id)
    }

    /// A volume that is not in quarantine.
    #[must_use]
    pub fn volume(&self, id: VolumeId) -> Option<&VolumeCensus> {
        self.volumes.iter().find(|volume| volume.id == id && !volume.quarantined)
    }

    /// How many live monitors have a volume open.
    #[must_use]
    pub fn openers(&self, id: VolumeId) -> usize {
        self.monitors.iter().filter(|monitor| monitor.volumes.contains(&id)).count()
    }
}

/// Equal exactly where the content is equal. Size is not content: a volume that grew holds the same.
pub(super) fn fingerprint(volume: &Volume) -> [u8; 32] {
    let mut hash = Hash::new();
    volume.tree.feed(&mut hash);
    hash.update(b"\0raw\0");
    hash.update(&volume.raw);
    hash.finalize()
}

fn volumes(model: &Model) -> Vec<VolumeCensus> {
    let census = |id: &VolumeId, volume: &Volume, quarantined: bool| VolumeCensus {
        id: *id,
        size: volume.size,
        whole: volume.whole,
        fingerprint: fingerprint(volume),
        quarantined,
    };
    let used = model.volumes.iter().map(|(id, volume)| census(id, volume, false));
    let aside = model.quarantine.iter().map(|(id, volume)| census(id, volume, true));
    used.chain(aside).collect()
}

impl InMemoryHost {
    /// Everything that is left, at this moment.
    #[must_use]
    pub fn census(&self) -> Census {
        let model = self.lock();
        let monitors = model.monitors.values().map(|monitor| MonitorCensus {
            id: monitor.config.id,
            epoch: monitor.config.epoch,
            pid: monitor.pid,
            since: monitor.since,
            phase: monitor.phase,
            volumes: monitor.open.clone(),
            shown: monitor.shown.values().copied().collect(),
            nic: monitor.has_devices && monitor.config.nic.is_some(),
            cid: monitor.config.cid,
            uid: monitor.config.uid,
        });
        let ports = model.ports.values().map(|port| PortCensus {
            config: port.config.clone(),
            up: port.up,
            pinned: port.pinned,
        });
        let doors =
            model.doors.iter().map(|(id, door)| DoorCensus { id: *id, cid: door.cid, listening: door.listening });
        Census {
            monitors: monitors.collect(),
            residues: model.residues.keys().copied().collect(),
            volumes: volumes(&model),
            ports: ports.collect(),
            doors: doors.collect(),
            images: model.images.keys().copied().collect(),
            offences: model.offences.clone(),
        }
    }
}
