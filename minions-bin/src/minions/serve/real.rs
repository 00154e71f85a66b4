//! Real VMs: the monitor that was asked for or is the best, VSOCK, and the storage and network that are asked for.

use std::path::PathBuf;
use std::sync::Arc;

use minions_core::config::{Backend, Config, NetworkKind};
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::guest::DynGuestChannel;
use minions_core::guest::vsock::VsockChannel;
use minions_core::host::preflight::{Finding, FindingStatus};

use super::compose::{Parts, cannot};
use super::{Folder, cloud_hypervisor, network, qemu, storage};

/// What runs real VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Monitor {
    Qemu,
    CloudHypervisor,
}

impl Monitor {
    fn backend(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }

    async fn examine(self, folder: &Folder, config: &Config, kernel: Option<PathBuf>) -> Result<Vec<Finding>> {
        let mut findings = match self {
            Self::Qemu => qemu::examine(folder, &config.qemu, kernel).await?,
            Self::CloudHypervisor => cloud_hypervisor::examine(folder, kernel).await?,
        };
        findings.append(&mut storage::examine(folder, &config.storage).await);
        findings.append(&mut network::examine(folder, &config.network).await?);
        if self == Self::CloudHypervisor && config.network.kind != NetworkKind::Bridge {
            findings.push(Finding::fail(
                "tap",
                "Cloud Hypervisor has no network of its own, it needs tap interfaces",
                "set network.kind = \"bridge\" in the configuration",
            ));
        }
        Ok(findings)
    }
}

/// This machine's own kernel: before there is an image, KVM is proved with it.
fn host_kernel() -> Option<PathBuf> {
    let name = rustix::system::uname();
    let path = PathBuf::from(format!("/boot/vmlinuz-{}", name.release().to_str().ok()?));
    std::fs::File::open(&path).is_ok().then_some(path)
}

/// What KVM is proved with: a kernel of the images, else the machine's own.
fn a_kernel(folder: &Folder, config: &Config) -> Option<PathBuf> {
    qemu::first_kernel(&storage::images(folder, &config.storage)).or_else(host_kernel)
}

fn fails(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.status == FindingStatus::Fail)
}

/// The monitor that was asked for, else the best that preflight proves: Cloud Hypervisor, else QEMU. A folder stays with the
/// one that its VMs have. With it what was found about it.
async fn choose(folder: &Folder, config: &Config, kernel: Option<PathBuf>) -> Result<(Monitor, Vec<Finding>)> {
    let cloud = Monitor::CloudHypervisor;
    let noted = folder.noted_backend();
    let its_own = |monitor: Monitor| noted.as_deref() == Some(monitor.backend());
    let asked = config.backend == Backend::CloudHypervisor;
    let best = config.backend == Backend::Auto && config.network.kind == NetworkKind::Bridge && !its_own(Monitor::Qemu);
    if asked || best {
        let findings = cloud.examine(folder, config, kernel.clone()).await?;
        let proved = findings.iter().any(|finding| finding.id == "kvm" && finding.status == FindingStatus::Ok);
        if asked || its_own(cloud) || proved && !fails(&findings) {
            return Ok((cloud, findings));
        }
    }
    Ok((Monitor::Qemu, Monitor::Qemu.examine(folder, config, kernel).await?))
}

/// Looks at all that real VMs need. Changes nothing.
pub async fn examine(folder: &Folder, config: &Config) -> Result<Vec<Finding>> {
    choose(folder, config, a_kernel(folder, config)).await.map(|(_, findings)| findings)
}

/// The ports of this machine: which monitor it is, and why.
pub async fn open(folder: &Folder, config: &Config, env: &Env) -> Result<(&'static str, String, Parts)> {
    // One and the same for all who ask: the answer is remembered by it.
    let kernel = a_kernel(folder, config);
    let (monitor, findings) = choose(folder, config, kernel.clone()).await?;
    if fails(&findings) {
        return Err(Error::new(ErrorKind::Unsupported, cannot(&findings)).with_reason("preflight"));
    }
    folder.belongs_to(monitor.backend())?;
    for finding in findings.iter().filter(|finding| finding.status == FindingStatus::Warn) {
        tracing::warn!(id = finding.id, fix = finding.fix, "{}", finding.message);
    }
    let storage = storage::open(folder, &config.storage, env).await?;
    let (hypervisor, guest, accelerated) = match monitor {
        Monitor::Qemu => qemu::open(folder, &config.qemu, kernel, env).await?,
        Monitor::CloudHypervisor => {
            let guest: DynGuestChannel = Arc::new(VsockChannel::open(&folder.vms())?);
            (cloud_hypervisor::open(folder, env).await?, guest, true)
        }
    };
    let network = network::open(folder, &config.network).await?;
    let why = if config.backend == Backend::Auto { "the best of what works here" } else { "as asked" };
    let how = if accelerated { "on the processor (KVM)" } else { "in emulation, since KVM does not work here" };
    let parts = Parts { hypervisor, storage, network, guest };
    Ok((monitor.backend(), format!("{why}; guests run {how}"), parts))
}
