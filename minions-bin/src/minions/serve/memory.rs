//! The simulated host.

use std::io;
use std::path::Path;
use std::sync::Arc;

use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::memory::{InMemoryHost, Settings};
use minions_core::storage::Storage;

use super::compose::{Parts, at_start};

/// An empty one, with an image to make VMs from.
pub async fn open(env: &Env) -> Result<Parts> {
    let host = InMemoryHost::with(Settings::default(), env.clock.clone());
    host.storage().ensure_image(&at_start("memory.image"), &InMemoryHost::demo_image()).await?;
    Ok(Parts {
        hypervisor: Arc::new(host.hypervisor()),
        storage: Arc::new(host.storage()),
        network: Arc::new(host.network()),
        guest: Arc::new(host.guest()),
    })
}

/// Removes the journal of a world that is gone.
pub fn forget(state: &Path) -> Result<()> {
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        match std::fs::remove_file(state.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::new(ErrorKind::Unavailable, "cannot remove the journal of a simulated host")
                    .with_source(error));
            }
        }
    }
    Ok(())
}
