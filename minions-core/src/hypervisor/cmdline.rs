//! What a guest is told on its kernel's command line.

use super::VmmConfig;
use crate::types::DiskRole;

/// No secret: every process in the guest can read it.
pub(super) fn cmdline(config: &VmmConfig) -> String {
    let mut words = vec![
        "console=ttyS0".to_owned(),
        "quiet".to_owned(),
        "reboot=t".to_owned(),
        "panic=-1".to_owned(),
        "minions.rootfs=ext4".to_owned(),
        format!("minions.host={}", config.hostname),
    ];
    for (index, disk) in config.disks.iter().enumerate() {
        let letter = char::from(b'a' + u8::try_from(index % 26).unwrap_or(0));
        let word = match disk.role {
            DiskRole::Root => "minions.root",
            DiskRole::Data => "minions.data",
        };
        words.push(format!("{word}=/dev/vd{letter}"));
    }
    if let Some(nic) = &config.nic {
        let net = &nic.net;
        words.push(format!("minions.ip={}/{}", net.ip, net.prefix));
        words.push(format!("minions.gw={}", net.gateway));
        let dns: Vec<String> = net.dns.iter().map(ToString::to_string).collect();
        words.push(format!("minions.dns={}", dns.join(",")));
        words.push(format!("minions.mac={}", nic.mac));
    }
    if !config.cmdline.is_empty() {
        words.push(config.cmdline.clone());
    }
    words.join(" ")
}
