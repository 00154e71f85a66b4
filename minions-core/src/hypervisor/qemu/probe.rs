//! Whether QEMU's guests can run on the processor: a kernel without a root panics and ends its monitor, which is proof
//! enough, and takes a second where it works.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::host::command::{CommandError, Tool};
use crate::hypervisor::probe::prove;

pub use crate::hypervisor::KvmVerdict;

/// How long the probe may take. In hardware it takes a second; what is slower than this is no acceleration.
const LIMIT: Duration = Duration::from_secs(15);

impl KvmVerdict {
    /// How QEMU's guests run after this verdict.
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

/// Finds out, or remembers.
pub async fn probe_kvm(probe: &KvmProbe) -> Result<KvmVerdict> {
    let boot = async |kernel: &Path| boot_once(&probe.qemu, kernel).await;
    prove(&probe.qemu, probe.kernel.as_deref(), &probe.remember, boot).await
}

async fn boot_once(qemu: &Path, kernel: &Path) -> KvmVerdict {
    let words = ["-accel", "kvm", "-cpu", "host", "-M", "q35", "-m", "128M", "-nodefaults", "-no-user-config"];
    let tool = Tool::new(qemu)
        .args(words)
        .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .args(["-append", "console=ttyS0 quiet reboot=t panic=-1"])
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
