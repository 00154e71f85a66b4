//! What adapters of real hosts share: commands, long-lived processes and the keys that they hold, files, preflight.

pub mod command;
pub mod cpio;
#[cfg(any(feature = "file-storage", feature = "image", feature = "lvm"))]
pub(crate) mod digest;
pub mod error;
pub mod files;
pub mod inotify;
#[cfg(feature = "jail")]
pub mod jail;
pub mod key;
pub mod lock;
pub mod lookup;
pub mod machine;
pub mod preflight;
pub mod process;
pub mod socket;
pub mod spawn;
pub mod version;

use crate::error::{Error, Result};

/// Runs file work off the runtime's threads. The work goes on when the caller is dropped, so it must hold whatever
/// keeps others away.
#[cfg_attr(
    not(any(
        feature = "cloud-hypervisor",
        feature = "file-storage",
        feature = "image",
        feature = "lvm",
        feature = "qemu"
    )),
    expect(dead_code, reason = "some adapters need none of it")
)]
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(Error::internal("file work ended early")
            .with_effect(crate::error::Effect::Unknown)
            .with_source(stopped)),
    }
}
