//! Real VMs: QEMU, files, VSOCK, and the network that is asked for.

use std::path::PathBuf;
use std::sync::Arc;

use minions_core::config::NetworkSettings;
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::guest::vsock::VsockChannel;
use minions_core::host::preflight::Finding;
use minions_core::hypervisor::qemu::{KvmProbe, KvmVerdict, QemuConfig, QemuHypervisor, preflight, probe_kvm};
use minions_core::storage::Storage;
use minions_core::storage::file::FileStorage;
use minions_core::types::ByteSize;

use super::compose::{Parts, at_start};
use super::{Folder, network};

/// Looks at all that real VMs need. Changes nothing.
pub async fn examine(folder: &Folder, settings: &NetworkSettings) -> Result<Vec<Finding>> {
    let kernel = first_kernel(folder);
    let (config, verdict) = config(folder, kernel).await?;
    let mut findings = preflight(&config, &verdict).await;
    findings.append(&mut network::examine(folder, settings).await?);
    Ok(findings)
}

/// The ports of this machine, and whether guests run on its processor.
pub async fn open(folder: &Folder, settings: &NetworkSettings, env: &Env) -> Result<(Parts, bool)> {
    let storage = FileStorage::open(folder.dir(), env.clone()).await?;
    let images = storage.images(&at_start("qemu.images")).await?;
    let kernel = images.into_iter().next().map(|image| image.boot.kernel);
    let (config, verdict) = config(folder, kernel).await?;
    let hypervisor = QemuHypervisor::open(config, env.clone()).await?;
    let network = network::open(folder, settings).await?;
    let guest = VsockChannel::open(&folder.vms())?;
    let parts = Parts { hypervisor: Arc::new(hypervisor), storage: Arc::new(storage), network, guest: Arc::new(guest) };
    Ok((parts, verdict == KvmVerdict::Works))
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
fn first_kernel(folder: &Folder) -> Option<PathBuf> {
    let images = std::fs::read_dir(folder.dir().join("images")).ok()?;
    images.filter_map(|image| Some(image.ok()?.path().join("kernel"))).find(|kernel| kernel.is_file())
}

fn processors() -> Result<usize> {
    let count = std::thread::available_parallelism();
    count.map(usize::from).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "cannot count this machine's processors").with_source(error)
    })
}

fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}
