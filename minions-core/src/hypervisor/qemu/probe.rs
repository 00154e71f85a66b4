//! Whether guests can run on the processor. That `/dev/kvm` opens proves nothing: it may belong to a host that runs
//! kernels of its own kind only. So a kernel is booted: without a root it panics and ends its monitor, which is proof
//! enough, and takes a second where it works.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::host::command::{CommandError, Tool};
use crate::host::{blocking, files, preflight};

/// How long the probe may take. In hardware it takes a second; what is slower than this is no acceleration.
const LIMIT: Duration = Duration::from_secs(15);

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

impl KvmVerdict {
    /// How guests run after this verdict.
    #[must_use]
    pub fn accel(&self) -> super::Accel {
        match self {
            Self::Works => super::Accel::Kvm,
            Self::Fails { .. } => super::Accel::Emulation,
        }
    }
}

/// What the probe needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvmProbe {
    /// `qemu-system-x86_64`.
    pub qemu: PathBuf,
    /// A kernel, such as an image's. Without one nothing can be proved.
    pub kernel: Option<PathBuf>,
    /// Where the answer is kept. It holds until the host boots again, or QEMU or the kernel is another.
    pub remember: PathBuf,
}

#[derive(PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Remembered {
    boot: String,
    qemu: String,
    kernel: String,
    #[serde(flatten)]
    verdict: KvmVerdict,
}

/// Finds out, or remembers.
pub async fn probe_kvm(probe: &KvmProbe) -> Result<KvmVerdict> {
    let fails = |reason: &str| Ok(KvmVerdict::Fails { reason: reason.to_owned() });
    if !Path::new("/dev/kvm").exists() {
        return fails("there is no /dev/kvm");
    }
    if let Err(error) = files::open_write_existing(Path::new("/dev/kvm")) {
        return fails(&format!("/dev/kvm cannot be opened: {error}"));
    }
    let Some(kernel) = &probe.kernel else { return fails("there is no kernel yet to prove it with") };
    let lost =
        |source: std::io::Error| Error::internal("cannot read which boot of the host this is").with_source(source);
    let boot = preflight::boot_id().map_err(lost)?;
    let text = |path: &Path| path.display().to_string();
    let (qemu, of_kernel) = (text(&probe.qemu), text(kernel));
    if let Ok(bytes) = std::fs::read(&probe.remember)
        && let Ok(known) = serde_json::from_slice::<Remembered>(&bytes)
        && (&known.boot, &known.qemu, &known.kernel) == (&boot, &qemu, &of_kernel)
    {
        return Ok(known.verdict);
    }
    let verdict = boot_once(&probe.qemu, kernel).await;
    let remembered = Remembered { boot, qemu, kernel: of_kernel, verdict: verdict.clone() };
    let path = probe.remember.clone();
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

async fn boot_once(qemu: &Path, kernel: &Path) -> KvmVerdict {
    let words = ["-accel", "kvm", "-cpu", "host", "-M", "q35", "-m", "128M", "-nodefaults", "-no-user-config"];
    let tool = Tool::new(qemu)
        .args(words)
        .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .args(["-append", "console=ttyS0 reboot=t panic=-1"])
        .limit(LIMIT);
    match tool.run().await {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("Kernel panic") => KvmVerdict::Works,
        Ok(_) => KvmVerdict::Fails { reason: "the probe's kernel said nothing".to_owned() },
        Err(CommandError::TimedOut { .. }) => {
            KvmVerdict::Fails { reason: format!("the probe's kernel did not run within {LIMIT:?}") }
        }
        Err(error) => KvmVerdict::Fails { reason: error.to_string().lines().next().unwrap_or_default().to_owned() },
    }
}
