//! The words that QEMU and its helper are started with.
//!
//! What was learned on the way:
//! - `q35` with a shared memory backend boots; `microvm` with one prints nothing.
//! - VSOCK without the kernel's vhost is a helper process that shares the guest's memory: hence the memfd.
//! - The vhost-user connection, or the kernel's vhost device, is QEMU's standard output (`fd=1`): the daemon makes it, and so
//!   knows before QEMU is started that the helper is ready, or that nobody else has the guest's context id. QEMU's user need
//!   not be able to open the device.
//! - Raw disks are opened as raw by name, so no header that a guest writes is ever looked at.

use std::ffi::OsString;
use std::path::Path;

use super::places::Places;
use crate::hypervisor::VmmConfig;
use crate::hypervisor::cmdline::cmdline;
use crate::hypervisor::error::MonitorError;
use crate::types::{ByteSize, GuestNet, IfName, NicBackend, Vcpus, VmId, VmSize, names};

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// On the processor.
    Kvm,
    /// In emulation: works everywhere, some ten times slower.
    Emulation,
}

/// What ties a live process to an epoch: the name in the words it was started with, which nobody can write
/// afterwards.
pub(super) fn name(id: VmId, epoch: u64) -> String {
    format!("{}@{epoch}", names::vm_dir(id))
}

/// The epoch in a process's words; `None` where it is not a monitor of this id.
pub(super) fn epoch_of(args: &[String], id: VmId) -> Option<u64> {
    let at = args.iter().position(|word| word == "-name")?;
    let (vm, epoch) = args.get(at + 1)?.split_once('@')?;
    if names::vm_of_dir(vm) == Some(id) { epoch.parse().ok() } else { None }
}

/// What a monitor's words give its guest.
pub(super) fn size_of(args: &[String]) -> Option<VmSize> {
    let value = |name: &str| args.get(args.iter().position(|word| word == name)? + 1);
    let memory: u64 = value("-m")?.strip_suffix('M')?.parse().ok()?;
    Some(VmSize { vcpus: Vcpus(value("-smp")?.parse().ok()?), memory: ByteSize::bytes(memory.checked_mul(1 << 20)?) })
}

/// QEMU takes a comma in a value only when it is doubled.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// What opens a disk: a block device is no file to QEMU.
fn opener(disk: &Path) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let block = std::fs::metadata(disk).is_ok_and(|found| found.file_type().is_block_device());
    if block { "host_device" } else { "file" }
}

/// The device that a helper is.
const HELPED: &str = "vhost-user-vsock-pci";

/// Whether a monitor with these words is nothing without its helper.
pub(super) fn is_helped(args: &[String]) -> bool {
    args.iter().any(|word| word.split(',').next() == Some(HELPED))
}

pub(super) fn helper(config: &VmmConfig, places: &Places) -> Vec<OsString> {
    let vm = format!(
        "guest-cid={},socket={},uds-path={}",
        config.cid.get(),
        places.vhost().display(),
        places.vsock().display()
    );
    vec!["--vm".into(), vm.into()]
}

/// `user` is whom the monitor becomes once its disks and sockets are open, before any guest runs; `vhost_net` whether the
/// kernel carries the packets of a tap interface itself, `helper` whether standard output leads to the helper that is the
/// guest's VSOCK device, in place of the kernel's device.
pub(super) fn monitor(
    config: &VmmConfig,
    places: &Places,
    accel: Accel,
    user: Option<u32>,
    vhost_net: bool,
    helper: bool,
) -> Result<Vec<OsString>, MonitorError> {
    let memory = config.memory.as_mib();
    let mut words: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| words.extend([format!("-{option}"), value]);
    add("name", name(config.id, config.epoch));
    add("machine", "q35,memory-backend=mem0,usb=off,sata=off,smbus=off,graphics=off,hpet=off".to_owned());
    let (accel, cpu) = match accel {
        Accel::Kvm => ("kvm", "host"),
        Accel::Emulation => ("tcg,thread=multi", "max"),
    };
    add("accel", accel.to_owned());
    add("cpu", cpu.to_owned());
    add("smp", config.vcpus.to_string());
    add("m", format!("{memory}M"));
    let backend = if helper { "memfd,share=on" } else { "ram" };
    add("object", format!("memory-backend-{backend},id=mem0,size={memory}M"));
    // The filter is there before the monitor becomes its user, which is one of the calls that it could deny. A process
    // of another user than root has nothing to gain from them.
    let elevate = if user.is_some() { "allow" } else { "deny" };
    add("sandbox", format!("on,obsolete=deny,elevateprivileges={elevate},spawn=deny,resourcecontrol=deny"));
    if let Some(user) = user {
        add("runas", format!("{user}:{user}"));
    }
    for (index, disk) in config.disks.iter().enumerate() {
        // A full host disk is the guest's I/O error, not a guest that stands still.
        let serial = disk.role.as_str();
        add(
            "blockdev",
            format!(
                "driver=raw,node-name=d{index},discard=unmap,cache.direct=off,file.driver={},file.locking=on,file.filename={}",
                opener(&disk.path),
                escaped(&disk.path)
            ),
        );
        add("device", format!("virtio-blk-pci,drive=d{index},serial={serial},werror=report,rerror=report"));
    }
    if helper {
        add("chardev", "socket,id=vsock0,fd=1".to_owned());
        add("device", format!("{HELPED},chardev=vsock0"));
    } else {
        add("device", format!("vhost-vsock-pci,guest-cid={},vhostfd=1", config.cid.get()));
    }
    if let Some(nic) = &config.nic {
        match &nic.backend {
            NicBackend::User => add("netdev", user_network(&nic.net)),
            NicBackend::Tap(tap) => add("netdev", tap_network(tap, vhost_net)),
            _ => return Err(MonitorError::Nic("only a tap interface and its own network")),
        }
        add("device", format!("virtio-net-pci,netdev=n0,mac={},romfile=", nic.mac));
    }
    add("device", "virtio-rng-pci".to_owned());
    // The guest's serial log: a ring in the monitor's memory, bounded even while no daemon is alive.
    add("chardev", format!("ringbuf,id=serial0,size={}", super::console::RING));
    add("serial", "chardev:serial0".to_owned());
    for socket in [places.qmp(), places.events()] {
        add("qmp", format!("unix:{},server=on,wait=off", escaped(&socket)));
    }
    add("kernel", escaped_plain(&config.boot.kernel));
    add("initrd", escaped_plain(&places.initrd()));
    add("append", cmdline(config));
    // Nothing but what is named; not booted until it is told; stands still at its guest's end, for what the guest has
    // said last is in the monitor's memory.
    for flag in ["nodefaults", "no-user-config", "no-reboot", "no-shutdown", "S"] {
        words.push(format!("-{flag}"));
    }
    words.extend(["-display".to_owned(), "none".to_owned()]);
    Ok(words.into_iter().map(OsString::from).collect())
}

/// Values that are a word of their own know no commas.
fn escaped_plain(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The network behind the monitor: the guest's own address is told on the kernel's command line, and nothing is
/// forwarded inwards. IPv6 stays off until it is designed.
fn user_network(net: &GuestNet) -> String {
    let bits = u32::MAX.checked_shl(32 - u32::from(net.prefix)).unwrap_or(0);
    let subnet = std::net::Ipv4Addr::from(u32::from(net.ip) & bits);
    let dns = net.dns.first().map(|dns| format!(",dns={dns}")).unwrap_or_default();
    format!("user,id=n0,ipv6=off,net={subnet}/{},host={}{dns},dhcpstart={}", net.prefix, net.gateway, net.ip)
}

/// A tap interface that is there already, and stays when the monitor goes. No script of the host runs for it.
fn tap_network(tap: &IfName, vhost_net: bool) -> String {
    let vhost = if vhost_net { "on" } else { "off" };
    format!("tap,id=n0,ifname={tap},script=no,downscript=no,vhost={vhost}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::types::{AgentSecret, BootFiles, Cid, DiskAttachment, DiskRole, MacAddr, NicAttachment, Vcpus};

    fn config() -> VmmConfig {
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
                DiskAttachment { role: DiskRole::Root, path: PathBuf::from("/d/a,b") },
                DiskAttachment { role: DiskRole::Data, path: PathBuf::from("/d/data") },
            ],
            nic: Some(NicAttachment {
                backend: NicBackend::User,
                mac,
                net: GuestNet {
                    ip: "10.213.0.20".parse().unwrap(),
                    prefix: 16,
                    gateway: "10.213.0.2".parse().unwrap(),
                    dns: vec!["10.213.0.3".parse().unwrap()],
                    mac,
                },
            }),
            cid: Cid::FIRST,
            secret: AgentSecret::from_bytes([0xab; 32]),
            uid: 0,
            restore: None,
        }
    }

    fn words_of(user: Option<u32>) -> Vec<String> {
        told(user, true)
    }

    fn told(user: Option<u32>, helper: bool) -> Vec<String> {
        let places = Places::new(Path::new("/r"), VmId::from_bits(1));
        let words = monitor(&config(), &places, Accel::Emulation, user, false, helper).unwrap();
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    fn words() -> Vec<String> {
        words_of(None)
    }

    #[test]
    fn a_monitor_becomes_its_own_user_or_may_become_nobody() {
        let own = words_of(Some(200_000)).join(" ");
        assert!(own.contains(" -runas 200000:200000 ") && own.contains("elevateprivileges=allow"), "{own}");
        let ours = words().join(" ");
        assert!(!ours.contains("runas") && ours.contains("elevateprivileges=deny"), "{ours}");
    }

    #[test]
    fn ctl_1_2_the_filter_of_system_calls_denies_all_that_it_can() {
        for (user, elevate) in [(None, "deny"), (Some(200_000), "allow")] {
            let words = words_of(user);
            let at = words.iter().position(|word| word == "-sandbox").expect("there is one");
            let want = format!("on,obsolete=deny,elevateprivileges={elevate},spawn=deny,resourcecontrol=deny");
            assert_eq!(words[at + 1], want);
            assert_eq!(words.iter().filter(|word| *word == "-sandbox").count(), 1, "the last of several would count");
        }
    }

    #[test]
    fn the_epoch_reads_back_from_the_words_and_from_nobody_elses() {
        let words = words();
        assert_eq!(epoch_of(&words, VmId::from_bits(1)), Some(7));
        assert_eq!(epoch_of(&words, VmId::from_bits(2)), None);
        assert_eq!(epoch_of(&["sleep".to_owned(), "9".to_owned()], VmId::from_bits(1)), None);
    }

    #[test]
    fn the_size_reads_back_from_the_words() {
        let config = config();
        assert_eq!(size_of(&words()), Some(VmSize { vcpus: config.vcpus, memory: config.memory }));
        assert_eq!(size_of(&["-m".to_owned()]), None);
    }

    #[test]
    fn the_kernels_device_has_the_guests_context_id_and_the_helpers_shares_its_memory() {
        let (helped, kernel) = (told(None, true), told(None, false));
        assert_eq!((is_helped(&helped), is_helped(&kernel)), (true, false));
        let has = |words: &[String], part: &str| words.iter().any(|word| word == part);
        assert!(has(&kernel, "vhost-vsock-pci,guest-cid=3,vhostfd=1"), "{kernel:?}");
        assert!(has(&kernel, "memory-backend-ram,id=mem0,size=256M"), "{kernel:?}");
        assert!(has(&helped, "memory-backend-memfd,share=on,id=mem0,size=256M"), "{helped:?}");
        assert!(!kernel.join(" ").contains("vsock0"), "{kernel:?}");
    }

    #[test]
    fn ctl_1_4_disks_are_raw_by_name_and_a_comma_in_a_path_adds_no_option() {
        let words = words().join(" ");
        assert!(words.contains("driver=raw,node-name=d0,"), "{words}");
        assert!(words.contains("filename=/d/a,,b -device"), "{words}");
        assert_eq!(words.matches("-blockdev").count(), 2);
    }

    #[test]
    fn a_tap_is_opened_by_its_name_and_no_script_runs() {
        let mut config = config();
        config.nic.as_mut().unwrap().backend = NicBackend::Tap(names::tap(config.id));
        let places = Places::new(Path::new("/r"), config.id);
        for (vhost_net, vhost) in [(true, "on"), (false, "off")] {
            let words = monitor(&config, &places, Accel::Kvm, None, vhost_net, true).unwrap();
            let want = format!("tap,id=n0,ifname={},script=no,downscript=no,vhost={vhost}", names::tap(config.id));
            assert!(words.iter().any(|word| *word == *want), "{words:?}");
            let device = format!("virtio-net-pci,netdev=n0,mac={},romfile=", MacAddr::local(5));
            assert!(words.iter().any(|word| *word == *device), "{words:?}");
        }
    }

    #[test]
    fn the_secret_is_on_no_command_line() {
        assert!(!words().join(" ").contains("abab"));
        assert!(!cmdline(&config()).contains("abab"));
    }

    #[test]
    fn the_guest_is_told_its_disks_and_addresses() {
        let line = cmdline(&config());
        for word in [
            "minions.root=/dev/vda",
            "minions.data=/dev/vdb",
            "minions.ip=10.213.0.20/16",
            "minions.gw=10.213.0.2",
            "minions.dns=10.213.0.3",
            "minions.mac=02:00:00:00:00:05",
            "minions.host=web",
            "extra=1",
        ] {
            assert!(line.split(' ').any(|have| have == word), "{word} is not in {line}");
        }
        let words = words().join(" ");
        assert!(words.contains("net=10.213.0.0/16,host=10.213.0.2,dns=10.213.0.3"), "{words}");
    }
}
