//! What a host shall have.

use std::path::{Path, PathBuf};

use crate::storage::lvm::{LvmConfig, UDEV_FILES, udev_rule};

use super::found::{Found, Module};
use super::unit::{UNIT, unit};

/// What shall run the VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// The best that works.
    Any,
    /// QEMU.
    Qemu,
    /// Cloud Hypervisor.
    CloudHypervisor,
}

impl Monitor {
    /// Its word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "auto",
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }
}

/// What a host shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The service's folder.
    pub dir: PathBuf,
    /// The configuration file; written only where there is none.
    pub config: PathBuf,
    /// The program `minions`, as systemd shall start it.
    pub program: PathBuf,
    /// What shall run the VMs.
    pub monitor: Monitor,
    /// Its program, where it may lie.
    pub cloud_hypervisor: PathBuf,
    /// QEMU's program, where it may lie.
    pub qemu: PathBuf,
    /// The helper beside QEMU, where it may lie.
    pub vsock_helper: PathBuf,
    /// The thin pool for disks; `None` for disks in files.
    pub lvm: Option<LvmConfig>,
    /// Disks for the pool's group, where there is no such group yet.
    pub devices: Vec<PathBuf>,
    /// Whether guests are on bridges; `None` is the monitor's own NAT. The program `nft`, where it may lie.
    pub bridge: Option<PathBuf>,
    /// Whether all of it shall be so again after a reboot.
    pub persist: bool,
    /// Whether the service shall be started.
    pub start: bool,
}

/// A file of ours begins with this: such a one is brought up to date. Any other that is in its place is left alone.
pub(super) const MARK: &str = "# Made by minions";

/// A file that the host shall have.
pub(super) struct Text {
    pub path: PathBuf,
    pub text: String,
    pub why: &'static str,
    /// Whether it is its reader's own once it is there.
    pub theirs: bool,
}

/// Where modules are named that are loaded at every boot.
const MODULES: &str = "/etc/modules-load.d/minions.conf";
/// Where settings of the kernel are named that are made at every boot.
const SYSCTLS: &str = "/etc/sysctl.d/60-minions.conf";

/// The kernel's VSOCK for guests.
const VHOST: &str = "vhost_vsock";

impl Wish {
    /// Whether QEMU is to have the kernel's VSOCK: wherever it may be used and can be had, and where nothing else would do.
    fn wants_vhost(&self, found: &Found) -> bool {
        let without = match self.monitor {
            Monitor::CloudHypervisor => return false,
            Monitor::Qemu => found.programs.contains(&self.vsock_helper),
            Monitor::Any => {
                let others = [&self.vsock_helper, &self.cloud_hypervisor];
                others.into_iter().any(|program| found.programs.contains(program))
            }
        };
        let can = matches!(found.modules.get(VHOST), None | Some(Module::Loadable | Module::Loaded));
        found.programs.contains(&self.qemu) && found.runs_on_processor() && (can || !without)
    }

    /// The modules of the kernel, and what each is for. The processor's own one only where it is known.
    pub(super) fn modules(&self, found: &Found) -> Vec<(&'static str, &'static str)> {
        let mut modules = Vec::new();
        modules.extend(found.processor.map(|name| (name, "guests run on the processor")));
        if self.bridge.is_some() {
            modules.push(("tun", "each VM has an interface of its own"));
            modules.push(("bridge", "the VMs' interfaces meet on a bridge"));
            modules.push(("nf_tables", "the firewall pins each VM to its address"));
        }
        if self.wants_vhost(found) {
            modules.push((VHOST, "QEMU's guests are reached without a helper"));
        }
        if self.lvm.is_some() {
            modules.push(("dm_thin_pool", "disks are thin volumes"));
            // lvm2 asks for it before it makes any snapshot, and the service may not load it.
            modules.push(("dm_snapshot", "root disks are snapshots of images"));
        }
        modules
    }

    /// The kernel's settings: key, value, reason.
    pub(super) fn sysctls(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        match self.bridge {
            Some(_) => vec![("net.ipv4.ip_forward", "1", "guests reach the world through this host")],
            None => Vec::new(),
        }
    }

    /// The folders with their modes.
    #[must_use]
    pub fn folders(&self) -> Vec<(&Path, u32, &'static str)> {
        let mut folders = vec![(self.dir.as_path(), 0o700, "the service keeps everything in it")];
        let beside = self.config.parent().filter(|dir| *dir != self.dir);
        folders.extend(beside.map(|dir| (dir, 0o755, "the configuration lies in it")));
        folders
    }

    /// The files, in the order in which they are written.
    pub(super) fn files(&self, found: &Found) -> Vec<Text> {
        let ours = |path: &str, text: String, why| Text { path: path.into(), text, why, theirs: false };
        let mut files = Vec::new();
        if let Some(lvm) = &self.lvm {
            let why = "the host never looks into the disks of guests";
            files.extend(UDEV_FILES.map(|path| ours(path, udev_rule(&lvm.vg), why)));
        }
        files.push(Text {
            path: self.config.clone(),
            text: self.configuration(),
            why: "the service reads there what it runs on",
            theirs: true,
        });
        if self.persist {
            let modules: Vec<_> = self.modules(found).into_iter().map(|(name, _)| name).collect();
            if !modules.is_empty() {
                let text = format!("{MARK} init.\n{}\n", modules.join("\n"));
                files.push(ours(MODULES, text, "the kernel's modules are loaded at every boot"));
            }
            let lines: String = self.sysctls().iter().map(|(key, value, _)| format!("{key} = {value}\n")).collect();
            if !lines.is_empty() {
                files.push(ours(
                    SYSCTLS,
                    format!("{MARK} init.\n{lines}"),
                    "the kernel's settings are made at every boot",
                ));
            }
            files.push(ours(UNIT, unit(self), "systemd starts the service at every boot, and again when it dies"));
        }
        files
    }

    /// The configuration file's text.
    #[must_use]
    pub fn configuration(&self) -> String {
        let mut text = format!(
            "{MARK} init, and yours to change: it is never written again.\n\
             # What else may stand here: minions config show\n\n\
             [daemon]\ndir = \"{}\"\nbackend = \"{}\"\n\n",
            self.dir.display(),
            self.monitor.as_str()
        );
        text.push_str(match self.bridge {
            Some(_) => "[network]\nkind = \"bridge\"\n\n",
            None => "[network]\nkind = \"user\"\n\n",
        });
        match &self.lvm {
            Some(lvm) => {
                text.push_str(&format!("[storage]\nkind = \"lvm\"\nvg = \"{}\"\npool = \"{}\"\n", lvm.vg, lvm.pool));
            }
            None => text.push_str("[storage]\nkind = \"file\"\n"),
        }
        text
    }
}

/// Whether a path needs no quotes anywhere: not in a unit, not in a configuration, not in a line to type.
pub(super) fn is_plain(path: &Path) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-:".contains(&byte);
    path.is_absolute() && path.to_str().is_some_and(|text| text.bytes().all(allowed))
}
