//! Whether a kernel was configured to be a guest here.

use std::collections::BTreeMap;

/// What is needed, as a fragment for Linux's own tools.
pub const KERNEL_CONFIG: &str = include_str!("kernel.config");

/// Options that may be modules, because our initrd loads these, in an order in which they load.
const IN_INITRD: &[(&str, &str)] = &[
    ("CONFIG_VIRTIO_PCI", "virtio_pci"),
    ("CONFIG_VIRTIO_BLK", "virtio_blk"),
    ("CONFIG_VIRTIO_NET", "virtio_net"),
    ("CONFIG_EXT4_FS", "ext4"),
    ("CONFIG_VSOCKETS", "vsock"),
    ("CONFIG_VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport"),
    ("CONFIG_HW_RANDOM_VIRTIO", "virtio_rng"),
    ("CONFIG_ACPI_BUTTON", "button"),
    ("CONFIG_INPUT_EVDEV", "evdev"),
];

/// Options that may be modules, because the image loads them when it wants them.
const LATER: &[&str] = &["CONFIG_PTP_1588_CLOCK_KVM"];

/// An option that a kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MissingOption {
    /// Such as `CONFIG_VIRTIO_BLK`.
    pub option: String,
    /// What it is for.
    pub why: String,
    /// Whether it is there as a module, where only built in is of use.
    pub is_module: bool,
}

/// Every option that is needed, with what it is for, in the order of the fragment.
#[must_use]
pub fn needed_options() -> Vec<(String, String)> {
    let (mut why, mut options) = (String::new(), Vec::new());
    for line in KERNEL_CONFIG.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            comment.clone_into(&mut why);
        } else if let Some(option) = line.strip_suffix("=y") {
            options.push((option.to_owned(), why.clone()));
        }
    }
    options
}

/// What a kernel lacks, by its configuration (`/boot/config-VERSION`, or `/proc/config.gz` unpacked).
#[must_use]
pub fn missing_options(config: &str) -> Vec<MissingOption> {
    let said: BTreeMap<&str, &str> = config.lines().filter_map(|line| line.trim().split_once('=')).collect();
    let modules = said.get("CONFIG_MODULES") == Some(&"y");
    let may_be_module =
        |option: &str| modules && (LATER.contains(&option) || IN_INITRD.iter().any(|(known, _)| *known == option));
    let lacks = |(option, why): (String, String)| match said.get(option.as_str()).copied() {
        Some("y") => None,
        Some("m") if may_be_module(&option) => None,
        found => Some(MissingOption { option, why, is_module: found == Some("m") }),
    };
    needed_options().into_iter().filter_map(lacks).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::image::modules::{NEEDED, WANTED};

    #[test]
    fn what_may_be_a_module_is_what_our_initrd_loads() {
        let ours: BTreeSet<&str> =
            IN_INITRD.iter().map(|(_, module)| *module).filter(|module| *module != "vsock").collect();
        let loaded: BTreeSet<&str> = NEEDED.into_iter().chain(WANTED).collect();
        assert_eq!(ours, loaded, "vsock comes with its transport");
        let options: BTreeSet<String> = needed_options().into_iter().map(|(option, _)| option).collect();
        for (option, _) in IN_INITRD {
            assert!(options.contains(*option), "{option} may be a module, and nobody needs it");
        }
    }

    #[test]
    fn an_option_is_missed_where_it_is_off_absent_or_a_module_that_nobody_loads() {
        let full: String = needed_options().iter().map(|(option, _)| format!("{option}=y\n")).collect();
        assert_eq!(missing_options(&full), vec![]);
        let names = |config: &str| missing_options(config).into_iter().map(|found| found.option).collect::<Vec<_>>();
        assert_eq!(names(&full.replace("CONFIG_PVH=y", "# CONFIG_PVH is not set")), ["CONFIG_PVH"]);
        // Without modules, a module is nothing; with them, only one that is loaded.
        let disk = full.replace("CONFIG_VIRTIO_BLK=y", "CONFIG_VIRTIO_BLK=m");
        assert_eq!(names(&disk), ["CONFIG_VIRTIO_BLK"]);
        assert_eq!(names(&format!("{disk}CONFIG_MODULES=y\n")), Vec::<String>::new());
        let serial = full.replace("CONFIG_SERIAL_8250=y", "CONFIG_SERIAL_8250=m");
        assert_eq!(names(&format!("{serial}CONFIG_MODULES=y\n")), ["CONFIG_SERIAL_8250"]);
        assert_eq!(missing_options("").len(), needed_options().len());
        assert_eq!(missing_options("\u{0}\n=\n=y\nCONFIG_\u{202e}=y").len(), needed_options().len());
    }

    #[test]
    fn every_option_says_what_it_is_for() {
        let options = needed_options();
        assert!(options.len() > 30);
        assert!(options.iter().all(|(option, why)| option.starts_with("CONFIG_") && !why.is_empty()));
    }
}
