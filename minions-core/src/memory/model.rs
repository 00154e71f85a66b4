//! The one state of a simulated host. Plain values and transitions; nothing here waits.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::behaviour::GuestBehaviour;
use super::image::{HostFile, Image};
use super::serial::Serial;
use super::settings::Settings;
use super::tree::Tree;
use super::volumes::Volumes;
use crate::env::Clock;
use crate::error::{Error, Result};
use crate::hypervisor::{VmmConfig, VmmPhase};
use crate::network::PortConfig;
use crate::types::{ByteSize, Cid, DiskRole, ImageId, NicAttachment, UnixMillis, VmId, VolumeId, names};

/// Where simulated things would lie.
const ROOT: &str = "/simulated";

pub(super) struct Model {
    pub settings: Settings,
    pub behaviours: BTreeMap<VmId, GuestBehaviour>,
    pub clock: Arc<dyn Clock>,
    /// Files that bundles name.
    pub files: BTreeMap<PathBuf, HostFile>,
    pub images: BTreeMap<ImageId, Image>,
    pub volumes: Volumes,
    pub quarantine: Vec<(VolumeId, Volume)>,
    pub ports: BTreeMap<VmId, Port>,
    pub monitors: BTreeMap<VmId, Monitor>,
    /// Ids whose monitor died and left its files.
    pub residues: BTreeMap<VmId, Residue>,
    pub doors: BTreeMap<VmId, Door>,
    /// Tells guests that dial in vain that it is worth another try.
    pub doors_changed: Arc<Notify>,
    /// Things that no correct engine ever tries.
    pub offences: Vec<String>,
    last_pid: u32,
}

/// A disk's worth of bytes, modelled as a tree of files and a list of raw writes.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    /// Whether the call that made it came to its end.
    pub whole: bool,
    pub size: ByteSize,
    pub base: Option<ImageId>,
    pub tree: Tree,
    /// What was written past the filesystem, by tests.
    pub raw: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Port {
    pub config: PortConfig,
    pub nic: NicAttachment,
    /// Whether the rules that pin it stand.
    pub pinned: bool,
    /// Whether it carries packets. Never without the rules.
    pub up: bool,
}

/// What a dead monitor left: its files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residue {
    pub epoch: u64,
    pub since: UnixMillis,
}

/// A live process.
pub(super) struct Monitor {
    pub config: VmmConfig,
    pub phase: VmmPhase,
    pub pid: u32,
    pub since: UnixMillis,
    /// The volumes that it has open.
    pub open: Vec<VolumeId>,
    /// Whether it has opened its disks and its network port.
    pub has_devices: bool,
    /// Dropped with the monitor, which wakes whoever waits for its end.
    pub alive: watch::Sender<()>,
    /// Everything the guest does. Ends with the monitor.
    pub tasks: Vec<AbortHandle>,
    /// How large its guest sees its disks.
    pub shown: BTreeMap<DiskRole, ByteSize>,
    pub serial: Serial,
    /// The guest's name, which may change while it runs.
    pub hostname: String,
    /// How many processes its guest has started.
    pub guest_pids: u32,
    /// When its guest began to boot.
    pub booted: tokio::time::Instant,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        for task in self.tasks.iter().chain(&self.serial.shell) {
            task.abort();
        }
    }
}

pub(super) struct Door {
    pub cid: Cid,
    /// Whether the process that opened it still lives.
    pub listening: bool,
    /// Connections that the guest made and nobody accepted, oldest first.
    pub waiting: VecDeque<DuplexStream>,
    /// Wakes one who accepts.
    pub arrived: Arc<Notify>,
    /// Dropped with the door: closes every connection through it.
    pub alive: watch::Sender<()>,
}

impl Model {
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let mut model = Self {
            settings,
            behaviours: BTreeMap::new(),
            clock,
            files: BTreeMap::new(),
            images: BTreeMap::new(),
            volumes: Volumes::default(),
            quarantine: Vec::new(),
            ports: BTreeMap::new(),
            monitors: BTreeMap::new(),
            residues: BTreeMap::new(),
            doors: BTreeMap::new(),
            doors_changed: Arc::new(Notify::new()),
            offences: Vec::new(),
            last_pid: 1000,
        };
        let demo = super::image::demo();
        model.files.extend(demo.files());
        let image = demo.image(model.clock.wall());
        model.images.insert(image.info.id, image);
        model
    }

    pub fn next_pid(&mut self) -> u32 {
        self.last_pid += 1;
        self.last_pid
    }

    pub fn behaviour(&self, id: VmId) -> &GuestBehaviour {
        self.behaviours.get(&id).unwrap_or(&self.settings.guests)
    }

    /// Who has a volume open.
    pub fn openers(&self, id: VolumeId) -> impl Iterator<Item = VmId> + '_ {
        self.monitors.iter().filter(move |(_, monitor)| monitor.open.contains(&id)).map(|(vm, _)| *vm)
    }

    /// All bytes that images and volumes were promised.
    pub fn used(&self) -> u64 {
        let images = self.images.values().map(|image| image.info.root_size.get());
        let aside = self.quarantine.iter().map(|(_, volume)| volume.size.get());
        images.chain(aside).fold(self.volumes.promised(), u64::saturating_add)
    }

    /// The process ends; its files stay until someone clears them.
    pub fn end_monitor(&mut self, id: VmId) -> bool {
        let Some(monitor) = self.monitors.remove(&id) else { return false };
        self.residues.insert(id, Residue { epoch: monitor.config.epoch, since: monitor.since });
        if let Some(door) = self.doors.get_mut(&id) {
            door.waiting.clear();
        }
        true
    }

    /// Checks that everything a configuration names is there, and gives the volumes that it opens.
    pub fn resolve(&mut self, config: &VmmConfig) -> Result<Vec<VolumeId>> {
        let boot = &config.boot;
        let has_boot = |image: &Image| image.info.boot == *boot;
        if !self.images.values().any(has_boot) {
            return Err(
                Error::not_found(format!("no kernel at {}", boot.kernel.display())).with_reason("host_misconfigured")
            );
        }
        let mut open = Vec::with_capacity(config.disks.len());
        for disk in &config.disks {
            let id = volume_of(&disk.path)
                .filter(|id| self.volumes.get(id).is_some_and(|volume| volume.whole))
                .ok_or_else(|| Error::not_found(format!("no volume at {}", disk.path.display())))?;
            let other = self.openers(id).find(|other| *other != config.id);
            if let Some(other) = other {
                self.offences.push(format!("{} opens {id}, which {other} has open", config.id));
                return Err(super::conflict(format!("{id} is open by the monitor of {other}")));
            }
            open.push(id);
        }
        if let Some(nic) = &config.nic {
            let port = self.ports.get(&config.id).filter(|port| port.pinned && port.nic == *nic);
            if port.is_none() {
                return Err(Error::not_found(format!("no network port for {} with {}", config.id, nic.mac)));
            }
        }
        Ok(open)
    }
}

/// Where a volume would lie.
pub(super) fn volume_path(id: VolumeId) -> PathBuf {
    Path::new(ROOT).join("volumes").join(names::volume(id))
}

pub(super) fn volume_of(path: &Path) -> Option<VolumeId> {
    let name = path.strip_prefix(ROOT).ok()?.strip_prefix("volumes").ok()?;
    names::volume_of(name.to_str()?)
}

/// Where the files of an image would lie.
pub(super) fn image_path(id: ImageId, file: &str) -> PathBuf {
    Path::new(ROOT).join("images").join(id.to_string()).join(file)
}

/// Where the files of a bundle would lie, before a storage takes them in.
pub(super) fn bundle_path(id: ImageId, file: &str) -> PathBuf {
    Path::new(ROOT).join("bundles").join(id.to_string()).join(file)
}
