//! A whole host in memory: one coherent model with a view per port.
//!
//! Booting without the volume or the network port fails, deleting a volume in use is a conflict, a boot takes as long
//! as it is told to, limits can be set, and [`InMemoryHost::census`] says what is left. Nothing here touches the
//! machine: time is tokio's (so that a paused test moves it), files are values, guests are tasks.
//!
//! The host outlives whoever uses it, as a real one does: drop an engine, start another one on the same host, and its
//! VMs still run.
//!
//! ```
//! use std::time::Duration;
//! use minions_core::env::CallCx;
//! use minions_core::memory::InMemoryHost;
//! use minions_core::storage::{Storage, VolumeConfig, VolumeSource};
//! use minions_core::types::{ByteSize, VmId, VolumeId};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> minions_core::Result<()> {
//! let host = InMemoryHost::new();
//! let cx = CallCx::new("example", Duration::from_secs(1));
//! let volume = VolumeConfig {
//!     id: VolumeId::root(VmId::from_bits(1)),
//!     size: ByteSize::gib(1),
//!     source: VolumeSource::Image(InMemoryHost::demo_image().id),
//! };
//! host.storage().ensure_volume(&cx, &volume).await?;
//! assert_eq!(host.census().volumes.len(), 1);
//! # Ok(()) }
//! ```

mod behaviour;
mod blob;
mod census;
mod events;
mod fleet;
mod guest;
mod hypervisor;
mod image;
mod journal;
mod levers;
mod machine;
mod model;
mod network;
mod people;
mod serial;
mod settings;
mod storage;
mod tree;
mod volumes;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use behaviour::GuestBehaviour;
pub use census::{Census, DoorCensus, MonitorCensus, PortCensus, VolumeCensus};
pub use fleet::InMemoryFleet;
pub use guest::InMemoryGuests;
pub use hypervisor::InMemoryHypervisor;
pub use journal::InMemoryJournal;
pub use network::InMemoryNetwork;
pub use settings::{Limits, Settings, Timings};
pub use storage::InMemoryStorage;

use crate::env::{CallCx, Clock, ManualClock};
use crate::error::{Error, Result};
use crate::types::ImageBundle;
use model::Model;

/// What every simulated kernel calls itself: never the name of a real one.
pub const KERNEL_RELEASE: &str = "0.0.0-minions-simulated";

/// One simulated host. Clones are the same host.
#[derive(Clone)]
pub struct InMemoryHost {
    model: Arc<Mutex<Model>>,
}

impl InMemoryHost {
    /// A host that holds nothing but the image `demo`. Its wall clock begins in 2026 and follows tokio's.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Settings::default(), Arc::new(ManualClock::new()))
    }

    /// A host with other limits and times, on a clock.
    #[must_use]
    pub fn with(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { model: Arc::new(Mutex::new(Model::new(settings, clock))) }
    }

    /// Its view as a hypervisor.
    #[must_use]
    pub fn hypervisor(&self) -> InMemoryHypervisor {
        InMemoryHypervisor::new(self.clone())
    }

    /// Its view as a storage.
    #[must_use]
    pub fn storage(&self) -> InMemoryStorage {
        InMemoryStorage::new(self.clone())
    }

    /// Its view as a network.
    #[must_use]
    pub fn network(&self) -> InMemoryNetwork {
        InMemoryNetwork::new(self.clone())
    }

    /// Its view as a guest channel.
    #[must_use]
    pub fn guest(&self) -> InMemoryGuests {
        InMemoryGuests::new(self.clone())
    }

    /// The image that every such host begins with.
    #[must_use]
    pub fn demo_image() -> ImageBundle {
        image::demo().bundle()
    }

    /// Held only between two awaits, never across one.
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for InMemoryHost {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryHost").field("census", &self.census()).finish()
    }
}

/// Lets simulated work take its time, within the deadline. What it leads to happens after it, at once.
async fn takes(cx: &CallCx, time: Duration) -> Result<()> {
    if time.is_zero() {
        return Ok(());
    }
    cx.bound(async {
        tokio::time::sleep(time).await;
        Ok(())
    })
    .await
    // Nothing of the work was begun.
    .map_err(|error| error.with_effect(crate::error::Effect::None))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An error of a kind that nothing else needs a name for.
fn conflict(message: String) -> Error {
    Error::new(crate::error::ErrorKind::Conflict, message)
}
