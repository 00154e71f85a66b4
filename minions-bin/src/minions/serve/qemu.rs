//! Real VMs by QEMU: on the processor where that was proved, else in emulation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minions_core::config::{QemuSettings, QemuVsock};
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::guest::DynGuestChannel;
use minions_core::guest::vhost::VhostChannel;
use minions_core::guest::vsock::VsockChannel;
use minions_core::host::preflight::Finding;
use minions_core::hypervisor::DynHypervisor;
use minions_core::hypervisor::qemu::{KvmProbe, KvmVerdict, QemuConfig, QemuHypervisor, Vsock, preflight, probe_kvm};
use minions_core::types::ByteSize;

use super::Folder;

/// Looks at all that it needs. Changes nothing.
pub async fn examine(folder: &Folder, settings: &QemuSettings, kernel: Option<PathBuf>) -> Result<Vec<Finding>> {
    let (config, verdict) = config(folder, settings, kernel).await?;
    Ok(preflight(&config, &verdict).await)
}

/// The monitors of this machine, the road to their guests, and whether these run on its processor.
pub async fn open(
    folder: &Folder,
    settings: &QemuSettings,
    kernel: Option<PathBuf>,
    env: &Env,
) -> Result<(DynHypervisor, DynGuestChannel, bool)> {
    let (config, verdict) = config(folder, settings, kernel).await?;
    let guest: DynGuestChannel = match &config.vsock {
        Vsock::Kernel(_) => Arc::new(VhostChannel::open()?),
        Vsock::Helper(_) => Arc::new(VsockChannel::open(&config.run_dir)?),
    };
    tracing::info!(channel = guest.capabilities().name, "the road to the guests of QEMU");
    let hypervisor = QemuHypervisor::open(config, env.clone()).await?;
    Ok((Arc::new(hypervisor), guest, verdict == KvmVerdict::Works))
}

async fn config(folder: &Folder, settings: &QemuSettings, kernel: Option<PathBuf>) -> Result<(QemuConfig, KvmVerdict)> {
    let qemu = folder.program("qemu-system-x86_64");
    let remember = folder.state().join("kvm.json");
    let verdict = probe_kvm(&KvmProbe { qemu: qemu.clone(), kernel, remember }).await?;
    let helper = folder.program("vhost-device-vsock");
    let vsock = match settings.vsock {
        QemuVsock::Kernel => Vsock::kernel(),
        QemuVsock::Helper => Vsock::Helper(helper),
        QemuVsock::Auto => Vsock::best(verdict.accel(), &folder.vms(), helper).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "cannot look at the VMs that run").with_source(error)
        })?,
    };
    let config = QemuConfig {
        run_dir: folder.vms(),
        qemu,
        vsock,
        accel: verdict.accel(),
        max_vcpus: u32::try_from(processors()?).unwrap_or(u32::MAX),
        max_memory: ByteSize::bytes(memory()),
    };
    Ok((config, verdict))
}

/// A kernel among the images, to prove KVM with.
pub fn first_kernel(images: &Path) -> Option<PathBuf> {
    let images = std::fs::read_dir(images).ok()?;
    let kernels = images.filter_map(|image| Some(image.ok()?.path().join("kernel")));
    // The same one each time.
    kernels.filter(|kernel| kernel.is_file()).min()
}

pub fn processors() -> Result<usize> {
    let count = std::thread::available_parallelism();
    count.map(usize::from).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "cannot count this machine's processors").with_source(error)
    })
}

pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}
