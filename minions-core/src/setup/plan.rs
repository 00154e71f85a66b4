//! What is missing. Pure: from a wish and what was found to steps, refusals and notes.

use std::path::Path;

use crate::host::preflight::Finding;

use super::device::Device;
use super::found::{Found, Module, Pool};
use super::step::Step;
use super::wish::{MARK, Monitor, Wish, is_plain};

/// The oldest kernel that was tried.
const KERNEL: (u32, u32) = (6, 1);

/// What is missing, in the order in which it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nothing is to do where there are none.
    pub steps: Vec<Step>,
    /// Why nothing may be done, each with the line to type.
    pub refused: Vec<Finding>,
    /// What is left as it is, though it is not as wished.
    pub notes: Vec<Finding>,
}

/// The plan. When its steps are done, the next one has none; when some are, the next one has the others.
#[must_use]
pub fn plan(wish: &Wish, found: &Found) -> Plan {
    let mut plan = Plan::default();
    plan.host(wish, found);
    plan.programs(wish, found);
    plan.folders(wish, found);
    plan.kernel(wish, found);
    let changed = plan.files(wish, found);
    plan.pool(wish, found);
    plan.service(wish, found, changed);
    plan
}

impl Plan {
    fn refuse(&mut self, id: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.refused.push(Finding::fail(id, message, fix));
    }

    /// What no step can change.
    fn host(&mut self, wish: &Wish, found: &Found) {
        if !found.root {
            self.refuse("root", "a host is set up by root", "sudo minions init");
        }
        if found.kernel < KERNEL {
            let ((major, minor), (least, its)) = (found.kernel, KERNEL);
            let fix = "boot the kernel of Debian 12 or later";
            self.refuse("kernel", format!("Linux {major}.{minor} is older than {least}.{its}"), fix);
        }
        // The module may be what is missing.
        if !found.kvm && found.processor.is_none_or(|name| found.modules.get(name) != Some(&Module::Loadable)) {
            let message = match found.processor {
                None => "there is no /dev/kvm, and the processor does not say that it can run guests",
                Some(_) => "there is no /dev/kvm, though the processor can run guests",
            };
            let fix = "turn on virtualization in the firmware, or nested virtualization in the host around this one";
            match wish.monitor {
                Monitor::CloudHypervisor => self.refuse("kvm", message, fix),
                Monitor::Any | Monitor::Qemu => {
                    self.notes.push(Finding::warn("kvm", format!("{message}: guests run in emulation"), fix));
                }
            }
        }
        if wish.persist && !found.systemd {
            self.refuse(
                "systemd",
                "systemd does not run this host",
                "minions init without --persist, and minions serve",
            );
        }
        let mut paths = vec![&wish.dir, &wish.config, &wish.program];
        paths.extend(&wish.devices);
        for path in paths.into_iter().filter(|path| !is_plain(path)) {
            let message = format!("{path:?} is not absolute, or has letters in it that need quotes");
            self.refuse("path", message, "use letters, digits and /._+-:");
        }
    }

    fn programs(&mut self, wish: &Wish, found: &Found) {
        let has = |path: &Path| found.programs.contains(path);
        let cloud = has(&wish.cloud_hypervisor);
        // On the processor the kernel's VSOCK does in its place, or its module is refused below.
        let helper = has(&wish.vsock_helper) || found.runs_on_processor();
        const CLOUD: &str = "put the static program of its release to /usr/local/bin/cloud-hypervisor";
        const QEMU: &str = "apt-get install qemu-system-x86; in emulation also cargo install --root /usr/local --locked vhost-device-vsock";
        match wish.monitor {
            Monitor::CloudHypervisor if !cloud => self.refuse("cloud-hypervisor", "it is not here", CLOUD),
            Monitor::Qemu if !has(&wish.qemu) || !helper => {
                self.refuse("qemu", "QEMU, or in emulation its helper vhost-device-vsock, is not here", QEMU);
            }
            Monitor::Any if !(cloud || has(&wish.qemu) && helper) => {
                let message =
                    "neither Cloud Hypervisor is here nor QEMU, in emulation with its helper vhost-device-vsock";
                self.refuse("monitor", message, format!("{CLOUD}; or {QEMU}"));
            }
            _ => {}
        }
        if wish.monitor == Monitor::CloudHypervisor && wish.bridge.is_none() {
            self.refuse("network", "Cloud Hypervisor has no network of its own", "leave out --network user");
        }
        if wish.lvm.is_some() && !has(Path::new("lvm")) {
            self.refuse("lvm2", "lvm2 is not here", "apt-get install lvm2 thin-provisioning-tools, or --storage file");
        }
        if wish.bridge.as_ref().is_some_and(|nft| !has(nft)) {
            self.refuse("nft", "nft is not here", "apt-get install nftables, or --network user");
        }
    }

    fn folders(&mut self, wish: &Wish, found: &Found) {
        for (path, mode, why) in wish.folders() {
            match found.folders.get(path) {
                None => self.steps.push(Step::Folder { path: path.to_owned(), mode, why }),
                Some(folder) if folder.mode.is_none() || folder.owner != 0 => {
                    let message = format!("{} is no folder of root's", path.display());
                    self.refuse("folder", message, format!("ls -ld {}", path.display()));
                }
                Some(folder) => {
                    let was = folder.mode.unwrap_or(mode);
                    if was & 0o022 != 0 {
                        self.steps.push(Step::Mode { path: path.to_owned(), mode: was & !0o022, was });
                    }
                }
            }
        }
    }

    fn kernel(&mut self, wish: &Wish, found: &Found) {
        for (name, why) in wish.modules(found) {
            match found.modules.get(name) {
                Some(Module::Loadable) if found.programs.contains(Path::new("modprobe")) => {
                    self.steps.push(Step::Module { name, why });
                }
                Some(Module::Loadable) => self.refuse("kmod", "modprobe is not here", "apt-get install kmod"),
                Some(Module::Loaded) => {}
                // Its absence is told above.
                _ if found.processor == Some(name) => {}
                _ => {
                    let fix = "apt-get install linux-image-amd64, and reboot";
                    self.refuse("module", format!("this kernel has no module {name}"), fix);
                }
            }
        }
        for (key, value, why) in wish.sysctls() {
            let was = found.sysctls.get(key).cloned().unwrap_or_default();
            if was != value {
                self.steps.push(Step::Sysctl { key, value, was, why });
            }
        }
    }

    /// Whether the service's unit will be written.
    fn files(&mut self, wish: &Wish, found: &Found) -> bool {
        let mut unit = false;
        for file in wish.files(found) {
            let there = found.files.get(&file.path);
            match there {
                Some(text) if file.theirs || *text == file.text => {}
                Some(text) if !text.starts_with(MARK) => {
                    let message = format!("{} is not ours, and is left as it is", file.path.display());
                    self.notes.push(Finding::warn("file", message, format!("rm {}", file.path.display())));
                }
                _ => {
                    unit |= file.path == Path::new(super::unit::UNIT);
                    let (replaces, theirs) = (there.is_some(), file.theirs);
                    self.steps.push(Step::File { path: file.path, text: file.text, why: file.why, replaces, theirs });
                }
            }
        }
        unit
    }

    fn pool(&mut self, wish: &Wish, found: &Found) {
        let Some(lvm) = &wish.lvm else { return };
        for device in found.devices.values() {
            if let Device::Unfit { why, fix } = device {
                self.refuse("device", why, fix);
            }
        }
        match &found.pool {
            Pool::Ready => {}
            Pool::Lacks { commands, group } => self.steps.push(Step::Pool {
                mends: !group && commands.iter().all(|command| command.starts_with("lvchange ")),
                commands: commands.clone(),
                devices: if *group { wish.devices.clone() } else { Vec::new() },
                name: (lvm.vg.clone(), lvm.pool.clone()),
            }),
            Pool::NoGroup => {
                let blank: Vec<_> =
                    found.candidates.iter().map(|(path, size)| format!("{} ({size})", path.display())).collect();
                let blank = if blank.is_empty() { "none".to_owned() } else { blank.join(", ") };
                let message = format!("there is no volume group {}; blank disks here: {blank}", lvm.vg);
                self.refuse("device", message, "say --device DISK, --volume-group GROUP or --storage file");
            }
            // The programs or the disks were refused already.
            Pool::Unknown(_) if !self.refused.is_empty() => {}
            Pool::Unknown(message) => self.refuse("lvm_pool", message, "minions doctor"),
        }
    }

    fn service(&mut self, wish: &Wish, found: &Found, changed: bool) {
        if !wish.persist {
            return;
        }
        if changed || found.service.stale {
            self.steps.push(Step::Reload);
        }
        if !found.service.enabled {
            self.steps.push(Step::Enable);
        }
        if wish.start && !found.service.active {
            self.steps.push(Step::Start);
        }
    }
}
