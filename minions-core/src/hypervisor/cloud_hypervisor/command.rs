//! The words that a monitor is started with, and the VM that it is told to make.
//!
//! What was learned on the way:
//! - `--landlock` as a word wants a kernel as a word too: it is asked for in the VM's configuration instead.
//! - The event monitor writes without waiting, so its pipe is opened for reading and writing: it is there while nobody
//!   listens, and never grows beyond what a pipe holds.
//! - Disks are raw by name, so no header that a guest writes is ever looked at.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::places::{Places, epoch_of};
use crate::hypervisor::VmmConfig;
use crate::hypervisor::cmdline::cmdline;
use crate::hypervisor::error::MonitorError;
use crate::types::{DiskRole, NicBackend, VmId};

/// The words of a monitor. Its standard output is the pipe of events.
pub(super) fn monitor(config: &VmmConfig, places: &Places) -> Vec<OsString> {
    let mut api = OsString::from("path=");
    api.push(places.api(config.epoch));
    let words: [(&str, OsString); 3] =
        [("--api-socket", api), ("--event-monitor", "fd=1".into()), ("--seccomp", "true".into())];
    words.into_iter().flat_map(|(option, value)| [option.into(), value]).collect()
}

/// The control socket among a process's words; `None` where it is not a monitor of this id.
pub(super) fn api_of(args: &[String], id: VmId) -> Option<(PathBuf, u64)> {
    let at = args.iter().position(|word| word == "--api-socket")?;
    let api = Path::new(args.get(at + 1)?.strip_prefix("path=")?);
    Some((api.to_owned(), epoch_of(api, id)?))
}

/// What a disk is called.
pub(super) fn disk_id(role: DiskRole) -> &'static str {
    role.as_str()
}

/// The VM, as the control API takes it: nothing but what is named here. `landlock`: whether Landlock is put around its files.
pub(super) fn vm(config: &VmmConfig, places: &Places, landlock: bool) -> Result<Value, MonitorError> {
    let disks: Vec<Value> = config
        .disks
        .iter()
        .map(|disk| {
            let role = disk.role.as_str();
            json!({ "id": disk_id(disk.role), "path": disk.path, "image_type": "Raw", "serial": role })
        })
        .collect();
    let mut vm = json!({
        "cpus": { "boot_vcpus": config.vcpus.0, "max_vcpus": config.vcpus.0, "nested": false },
        "memory": { "size": config.memory.get() },
        "payload": { "kernel": config.boot.kernel, "initramfs": places.initrd(), "cmdline": cmdline(config) },
        "disks": disks,
        "rng": { "src": "/dev/urandom" },
        "vsock": { "cid": config.cid.get(), "socket": places.vsock() },
        "serial": { "mode": "Socket", "socket": places.serial() },
        "console": { "mode": "Off" },
        "landlock_enable": landlock,
    });
    // For the sockets that it makes; its disks, kernel and initrd it adds by itself.
    let mut rules = vec![json!({ "path": places.dir(), "access": "rw" })];
    if let Some(nic) = &config.nic {
        let tap = match &nic.backend {
            NicBackend::Tap(tap) => tap,
            _ => return Err(MonitorError::Nic("only a tap interface")),
        };
        let flags = format!("/sys/class/net/{tap}/tun_flags");
        // What it asks of its tap interface after the rules stand, and has no rule of its own for.
        if Path::new(&flags).exists() {
            rules.push(json!({ "path": flags, "access": "r" }));
        }
        vm["net"] = json!([{ "id": "nic", "tap": tap.as_str(), "mac": nic.mac.to_string(), "num_queues": 2 }]);
    }
    if landlock {
        vm["landlock_rules"] = rules.into();
    }
    Ok(vm)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{
        AgentSecret, BootFiles, ByteSize, Cid, DiskAttachment, GuestNet, MacAddr, NicAttachment, Vcpus, names,
    };

    pub fn config() -> VmmConfig {
        let mac = MacAddr::local(5);
        VmmConfig {
            id: VmId::from_bits(1),
            epoch: 7,
            vcpus: Vcpus(2),
            memory: ByteSize::mib(256),
            boot: BootFiles { kernel: PathBuf::from("/i/kernel"), initrd: PathBuf::from("/i/initrd") },
            cmdline: "extra=1".to_owned(),
            hostname: "web".to_owned(),
            disks: vec![
                DiskAttachment { role: DiskRole::Root, path: PathBuf::from("/d/root") },
                DiskAttachment { role: DiskRole::Data, path: PathBuf::from("/d/data") },
            ],
            nic: Some(NicAttachment {
                backend: NicBackend::Tap(names::tap(VmId::from_bits(1))),
                mac,
                net: GuestNet {
                    ip: "10.0.0.20".parse().unwrap(),
                    prefix: 16,
                    gateway: "10.0.0.1".parse().unwrap(),
                    dns: vec!["10.0.0.1".parse().unwrap()],
                    mac,
                },
            }),
            cid: Cid::FIRST,
            secret: AgentSecret::from_bytes([0xab; 32]),
            uid: 200_000,
            restore: None,
        }
    }

    fn places() -> Places {
        Places::new(Path::new("/r"), VmId::from_bits(1))
    }

    #[test]
    fn ctl_1_2_the_words_of_a_monitor_are_these_and_no_others() {
        let words: Vec<_> = monitor(&config(), &places()).into_iter().map(|word| word.into_string().unwrap()).collect();
        let api = "path=/r/vm_00000000000000000000000001/api.7";
        assert_eq!(words, ["--api-socket", api, "--event-monitor", "fd=1", "--seccomp", "true"]);
        assert_eq!(api_of(&words, VmId::from_bits(1)), Some((api["path=".len()..].into(), 7)));
        assert_eq!(api_of(&words, VmId::from_bits(2)), None);
        assert_eq!(api_of(&["sleep".to_owned(), "9".to_owned()], VmId::from_bits(1)), None);
    }

    #[test]
    fn ctl_1_2_a_vm_is_made_of_exactly_its_own_files_behind_landlock() {
        let dir = "/r/vm_00000000000000000000000001";
        let line = cmdline(&config());
        let want = json!({
            "cpus": { "boot_vcpus": 2, "max_vcpus": 2, "nested": false },
            "memory": { "size": 256 << 20 },
            "payload": { "kernel": "/i/kernel", "initramfs": format!("{dir}/initrd"), "cmdline": line },
            "disks": [
                { "id": "root", "path": "/d/root", "image_type": "Raw", "serial": "root" },
                { "id": "data", "path": "/d/data", "image_type": "Raw", "serial": "data" },
            ],
            "net": [{ "id": "nic", "tap": names::tap(VmId::from_bits(1)).as_str(), "mac": "02:00:00:00:00:05", "num_queues": 2 }],
            "rng": { "src": "/dev/urandom" },
            "vsock": { "cid": 3, "socket": format!("{dir}/v") },
            "serial": { "mode": "Socket", "socket": format!("{dir}/serial") },
            "console": { "mode": "Off" },
            "landlock_enable": true,
            "landlock_rules": [{ "path": dir, "access": "rw" }],
        });
        assert_eq!(vm(&config(), &places(), true).unwrap(), want);
        let without = vm(&config(), &places(), false).unwrap();
        assert_eq!((&without["landlock_enable"], without.get("landlock_rules")), (&json!(false), None));
    }

    #[test]
    fn the_secret_is_in_no_word() {
        assert!(!format!("{:?}", monitor(&config(), &places())).contains("abab"));
        assert!(!vm(&config(), &places(), true).unwrap().to_string().contains("abab"));
    }

    #[test]
    fn a_network_of_the_monitors_own_is_refused() {
        let mut config = config();
        config.nic.as_mut().unwrap().backend = NicBackend::User;
        assert!(matches!(vm(&config, &places(), true), Err(MonitorError::Nic(_))));
    }
}
