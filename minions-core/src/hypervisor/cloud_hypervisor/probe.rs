//! Whether Cloud Hypervisor's guests run on this host's processor: a kernel that says which one it is has run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::host::command::{CommandError, Tool};
use crate::hypervisor::KvmVerdict;
use crate::hypervisor::probe::prove;

/// How long the probe may take. In hardware it takes a second; on a host under load that is itself a guest, half a minute.
const LIMIT: Duration = Duration::from_mins(2);

/// Finds out, or remembers. `kernel` is one such as an image's, without which nothing can be proved; the answer is kept in
/// the file `remember`.
pub async fn probe_kvm(program: &Path, kernel: Option<PathBuf>, remember: &Path) -> Result<KvmVerdict> {
    prove(program, kernel.as_deref(), remember, async |kernel| boot_once(program, kernel).await).await
}

async fn boot_once(program: &Path, kernel: &Path) -> KvmVerdict {
    let words =
        ["--serial", "tty", "--console", "off", "--memory", "size=128M", "--cpus", "boot=1", "--seccomp", "true"];
    let tool = Tool::new(program)
        .args(words)
        .args(["--cmdline", "console=ttyS0 reboot=t panic=-1", "--kernel"])
        .arg(kernel)
        .limit(LIMIT);
    match tool.says("Linux version ").await {
        Ok(true) => KvmVerdict::Works,
        Ok(false) => KvmVerdict::Fails { reason: "the probe's monitor ended, and its kernel said nothing".to_owned() },
        Err(CommandError::TimedOut { .. }) => {
            KvmVerdict::Fails { reason: format!("the probe's kernel did not run within {LIMIT:?}") }
        }
        Err(error) => KvmVerdict::Fails { reason: error.to_string().lines().next().unwrap_or_default().to_owned() },
    }
}
