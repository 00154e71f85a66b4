//! Real VMs by Cloud Hypervisor, on the processor of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::host::preflight::Finding;
use minions_core::hypervisor::cloud_hypervisor::{CloudHypervisor, CloudHypervisorConfig, preflight, probe_kvm};
use minions_core::hypervisor::{DynHypervisor, KvmVerdict};
use minions_core::types::ByteSize;

use super::Folder;
use super::qemu::{memory, processors};

/// Looks at all that it needs. Changes nothing, but notes what was found out about KVM. `kernel` is one to prove it with.
pub async fn examine(folder: &Folder, kernel: Option<PathBuf>) -> Result<Vec<Finding>> {
    let config = config(folder)?;
    let mut findings = preflight(&config).await;
    let remember = folder.state().join("kvm-cloud-hypervisor.json");
    let unproved = kernel.is_none() && Path::new("/dev/kvm").exists();
    findings.push(match probe_kvm(&config.program, kernel, &remember).await? {
        KvmVerdict::Works => Finding::ok("kvm", "a probe boot ran on the processor"),
        KvmVerdict::Fails { reason } if unproved => {
            Finding::warn("kvm", format!("that guests run is not proved: {reason}"), "minions image build busybox")
        }
        KvmVerdict::Fails { reason } => Finding::fail(
            "kvm",
            format!("Cloud Hypervisor has no emulation, and the processor runs no guests: {reason}"),
            "run on a host with hardware virtualization, or use --backend qemu",
        ),
    });
    Ok(findings)
}

/// The monitors of this machine.
pub async fn open(folder: &Folder, env: &Env) -> Result<DynHypervisor> {
    Ok(Arc::new(CloudHypervisor::open(config(folder)?, env.clone()).await?))
}

fn config(folder: &Folder) -> Result<CloudHypervisorConfig> {
    let unknown = |error| Error::new(ErrorKind::Unavailable, "cannot find this very program").with_source(error);
    Ok(CloudHypervisorConfig {
        run_dir: folder.vms(),
        program: folder.cloud_hypervisor(),
        // What it is told when it is started again, it takes as a whole or not at all: whatever version lies there then.
        jail: Some(std::env::current_exe().map_err(unknown)?),
        max_vcpus: u32::try_from(processors()?).unwrap_or(u32::MAX),
        max_memory: ByteSize::bytes(memory()),
    })
}
