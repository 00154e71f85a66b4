//! Whether guests can run on the processor. That `/dev/kvm` opens proves nothing: it may belong to a host that runs
//! kernels of its own kind only. So a kernel is booted, by the monitor that shall use it.

use std::path::Path;

use crate::error::{Error, Result};
use crate::host::{blocking, files, preflight};

/// What the probe found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kvm")]
pub enum KvmVerdict {
    /// A kernel ran.
    Works,
    /// None did.
    Fails {
        /// Why, for people.
        reason: String,
    },
}

#[derive(PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Remembered {
    boot: String,
    #[serde(alias = "qemu")]
    monitor: String,
    kernel: String,
    #[serde(flatten)]
    verdict: KvmVerdict,
}

/// Finds out, or remembers what was found in the file `remember`: it holds until the host boots again, or the monitor is
/// another. What failed is tried again with another kernel; what one kernel has proved, another need not.
pub(super) async fn prove(
    monitor: &Path,
    kernel: Option<&Path>,
    remember: &Path,
    boot_once: impl AsyncFnOnce(&Path) -> KvmVerdict,
) -> Result<KvmVerdict> {
    let fails = |reason: &str| Ok(KvmVerdict::Fails { reason: reason.to_owned() });
    if !Path::new("/dev/kvm").exists() {
        return fails("there is no /dev/kvm");
    }
    if let Err(error) = files::open_write_existing(Path::new("/dev/kvm")) {
        return fails(&format!("/dev/kvm cannot be opened: {error}"));
    }
    let Some(kernel) = kernel else { return fails("there is no kernel yet to prove it with") };
    let lost =
        |source: std::io::Error| Error::internal("cannot read which boot of the host this is").with_source(source);
    let boot = preflight::boot_id().map_err(lost)?;
    let text = |path: &Path| path.display().to_string();
    let (monitor, of_kernel) = (text(monitor), text(kernel));
    if let Ok(bytes) = std::fs::read(remember)
        && let Ok(known) = serde_json::from_slice::<Remembered>(&bytes)
        && (&known.boot, &known.monitor) == (&boot, &monitor)
        && (known.verdict == KvmVerdict::Works || known.kernel == of_kernel)
    {
        return Ok(known.verdict);
    }
    let verdict = boot_once(kernel).await;
    let remembered = Remembered { boot, monitor, kernel: of_kernel, verdict: verdict.clone() };
    let path = remember.to_owned();
    blocking(move || {
        let bytes = serde_json::to_vec(&remembered).map_err(|_| Error::internal("cannot write a verdict"))?;
        // Not remembered means asked again, which costs a second and loses nothing.
        if let Err(error) = files::replace(&path, &bytes, 0o600) {
            tracing::warn!(%error, path = %path.display(), "cannot remember whether KVM works");
        }
        Ok(())
    })
    .await?;
    Ok(verdict)
}
