//! What tests do to a simulated host behind its users' back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::InMemoryHost;
use super::behaviour::GuestBehaviour;
use super::census::fingerprint;
use super::image::recipe;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::types::{ByteSize, ImageBundle, VmId, VolumeId};

impl InMemoryHost {
    /// Changes limits, times and habits from now on.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// Changes how one VM's guest behaves: at its next start, and to its next connection.
    pub fn behave(&self, id: VmId, change: impl FnOnce(&mut GuestBehaviour)) {
        let mut model = self.lock();
        let mut behaviour = model.behaviour(id).clone();
        change(&mut behaviour);
        model.behaviours.insert(id, behaviour);
    }

    /// Sets how long boots take.
    pub fn set_boot_time(&self, time: Duration) {
        self.configure(|settings| settings.guests.boot = time);
    }

    /// Ends a monitor as `kill -9` would: its files stay. `false` where there is none.
    pub fn kill_vmm(&self, id: VmId) -> bool {
        self.lock().end_monitor(id)
    }

    /// Ends all processes and network ports, and stops every door from listening. Volumes and files stay.
    pub fn reboot(&self) {
        self.daemon_died();
        let mut model = self.lock();
        let ids: Vec<_> = model.monitors.keys().copied().collect();
        for id in ids {
            model.end_monitor(id);
        }
        model.ports.clear();
    }

    /// The process that listened at the doors is gone: guests find nobody until the doors are opened again.
    pub fn daemon_died(&self) {
        for door in self.lock().doors.values_mut() {
            door.listening = false;
            door.waiting.clear();
            // Wakes whoever still accepts.
            door.alive = watch::Sender::new(());
        }
    }

    /// Takes a volume away, whoever uses it. `false` where there is none.
    pub fn remove_volume(&self, id: VolumeId) -> bool {
        self.lock().volumes.remove(&id).is_some()
    }

    /// Leaves a volume as a call that did not finish would. `false` where there is none.
    pub fn tear_volume(&self, id: VolumeId) -> bool {
        self.lock().volumes.get_mut(&id).is_some_and(|volume| {
            volume.whole = false;
            true
        })
    }

    /// Takes a network port away, whoever uses it. `false` where there is none.
    pub fn remove_port(&self, id: VmId) -> bool {
        self.lock().ports.remove(&id).is_some()
    }

    /// Takes the rules of a network port away: it goes down. `false` where there is none.
    pub fn remove_rules(&self, id: VmId) -> bool {
        self.lock().ports.get_mut(&id).is_some_and(|port| {
            port.pinned = false;
            port.up = false;
            true
        })
    }

    /// Writes bytes to the end of a volume, as its guest might. `NotFound` where there is none.
    pub fn write_volume(&self, id: VolumeId, bytes: &[u8]) -> Result<()> {
        let mut model = self.lock();
        let volume = model.volumes.get_mut(&id).ok_or_else(|| Error::not_found(format!("no volume {id}")))?;
        volume.raw.extend_from_slice(bytes);
        Ok(())
    }

    /// What tells the content of a volume from any other content; `None` where there is no such volume.
    #[must_use]
    pub fn fingerprint(&self, id: VolumeId) -> Option<[u8; 32]> {
        self.lock().volumes.get(&id).map(fingerprint)
    }

    /// How many live monitors have a volume open.
    #[must_use]
    pub fn openers(&self, id: VolumeId) -> usize {
        self.lock().openers(id).count()
    }

    /// Puts the files of an image on the host, for `ensure_image` to take in: a root of this size with these text
    /// files.
    pub fn prepare_image(&self, name: &str, root: ByteSize, files: &[(&str, &str)]) -> ImageBundle {
        let recipe = recipe(name, root, files);
        self.lock().files.extend(recipe.files());
        recipe.bundle()
    }

    /// Two handles of the same host are the same host.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
    }
}
