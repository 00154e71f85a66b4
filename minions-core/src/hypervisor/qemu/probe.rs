//! Whether QEMU's guests can run on the processor: a kernel without a root panics and ends its monitor, which is proof
//! enough, and takes a second where it works.
//!
//! How slow is too slow, no clock can tell: a host under load, or one that is itself a guest, takes twenty times as long as
//! another and is still right to use its processor. So the kernel that was not quick runs a race against the same one in
//! emulation, on the same host at the same time. What is slower than emulation is no acceleration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::host::command::{CommandError, Tool};
use crate::hypervisor::probe::prove;

pub use crate::hypervisor::KvmVerdict;

/// How long the probe may take at most, on a host where even emulation says nothing.
const LIMIT: Duration = Duration::from_mins(3);

/// When the same kernel is started in emulation beside it. In hardware the answer is there before.
const HEAD_START: Duration = Duration::from_secs(3);

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
    /// Where the answer is kept. It holds until the host boots again, or QEMU is another.
    pub remember: PathBuf,
}

/// Finds out, or remembers.
pub async fn probe_kvm(probe: &KvmProbe) -> Result<KvmVerdict> {
    let boot = async |kernel: &Path| boot_once(&probe.qemu, kernel).await;
    prove(&probe.qemu, probe.kernel.as_deref(), &probe.remember, boot).await
}

async fn boot_once(qemu: &Path, kernel: &Path) -> KvmVerdict {
    let on_processor = boot(qemu, kernel, ["-accel", "kvm", "-cpu", "host"]);
    let in_emulation = async {
        tokio::time::sleep(HEAD_START).await;
        boot(qemu, kernel, ["-accel", "tcg", "-cpu", "max"]).await
    };
    tokio::pin!(on_processor);
    let slower = tokio::select! {
        biased;
        ran = &mut on_processor => return verdict(ran),
        ran = in_emulation => matches!(ran, Ok(true)),
    };
    if slower {
        return KvmVerdict::Fails { reason: "the probe's kernel runs faster in emulation".to_owned() };
    }
    // This QEMU has no emulation to compare with.
    verdict(on_processor.await)
}

/// Whether a kernel came as far as to miss its root.
async fn boot(qemu: &Path, kernel: &Path, how: [&str; 4]) -> Result<bool, CommandError> {
    let tool = Tool::new(qemu)
        .args(how)
        .args(["-M", "q35", "-m", "128M", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .args(["-append", "console=ttyS0 quiet reboot=t panic=-1"])
        .limit(LIMIT);
    let output = tool.run().await?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("Kernel panic"))
}

fn verdict(ran: Result<bool, CommandError>) -> KvmVerdict {
    let reason = match ran {
        Ok(true) => return KvmVerdict::Works,
        Ok(false) => "the probe's kernel said nothing".to_owned(),
        Err(CommandError::TimedOut { .. }) => format!("the probe's kernel did not run within {LIMIT:?}"),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    KvmVerdict::Fails { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU whose guests take so long on the processor and in emulation, in seconds.
    fn program(dir: &Path, name: &str, on_processor: &str, in_emulation: &str) -> PathBuf {
        let script = format!(
            "#!/bin/sh\ncase \"$2\" in\nkvm) {on_processor} ;;\n*) {in_emulation} ;;\nesac\necho 'Kernel panic - not syncing'\n"
        );
        let path = dir.join(name);
        crate::host::files::replace(&path, script.as_bytes(), 0o755).unwrap();
        path
    }

    #[tokio::test]
    async fn a_slow_host_uses_its_processor_and_one_that_emulates_it_does_not() {
        let dir = std::env::temp_dir().join(format!("minions-kvm-probe-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let ask = async |name, on_processor, in_emulation| {
            boot_once(&program(&dir, name, on_processor, in_emulation), Path::new("/nonexistent")).await
        };
        let fails =
            |verdict: &KvmVerdict, with: &str| matches!(verdict, KvmVerdict::Fails { reason } if reason.contains(with));
        assert_eq!(ask("quick", "true", "exit 1").await, KvmVerdict::Works);
        assert_eq!(ask("loaded", "sleep 5", "sleep 60").await, KvmVerdict::Works);
        assert_eq!(ask("alone", "sleep 4", "exit 1").await, KvmVerdict::Works);
        let verdict = ask("emulated", "sleep 60", "true").await;
        assert!(fails(&verdict, "faster in emulation"), "{verdict:?}");
        let verdict = ask("without", "echo 'no KVM here' >&2; exit 1", "true").await;
        assert!(fails(&verdict, "exit status: 1"), "{verdict:?}");
        let verdict = ask("silent", "exit 0", "sleep 60").await;
        assert!(fails(&verdict, "said nothing"), "{verdict:?}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
