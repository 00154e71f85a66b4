//! Real VMs by QEMU: on the processor where that was proved, else in emulation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::host::preflight::Finding;
use minions_core::hypervisor::DynHypervisor;
use minions_core::hypervisor::qemu::{KvmProbe, KvmVerdict, QemuConfig, QemuHypervisor, preflight, probe_kvm};
use minions_core::types::ByteSize;

use super::Folder;

/// Looks at all that it needs. Changes nothing.
pub async fn examine(folder: &Folder, kernel: Option<PathBuf>) -> Result<Vec<Finding>> {
    let (config, verdict) = config(folder, kernel).await?;
    Ok(preflight(&config, &verdict).await)
}

/// The monitors of this machine, and whether guests run on its processor.
pub async fn open(folder: &Folder, kernel: Option<PathBuf>, env: &Env) -> Result<(DynHypervisor, bool)> {
    let (config, verdict) = config(folder, kernel).await?;
    let hypervisor = QemuHypervisor::open(config, env.clone()).await?;
    Ok((Arc::new(hypervisor), verdict == KvmVerdict::Works))
}

async fn config(folder: &Folder, kernel: Option<PathBuf>) -> Result<(QemuConfig, KvmVerdict)> {
    let qemu = folder.program("qemu-system-x86_64");
    let remember = folder.state().join("kvm.json");
    let verdict = probe_kvm(&KvmProbe { qemu: qemu.clone(), kernel, remember }).await?;
    let config = QemuConfig {
        run_dir: folder.vms(),
        qemu,
        vsock_helper: folder.program("vhost-device-vsock"),
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
