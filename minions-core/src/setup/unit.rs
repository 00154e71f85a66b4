//! The service as systemd knows it.

use super::wish::{MARK, Wish};

/// Where the unit lies.
pub const UNIT: &str = "/etc/systemd/system/minions.service";

/// Its name.
pub(super) const SERVICE: &str = "minions.service";

/// What the service may do as root: what monitors are fenced in with, interfaces and the firewall, and the locks in memory
/// that lvm2 takes.
const CAPABILITIES: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP \
     CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_SYS_PTRACE CAP_SYS_ADMIN CAP_SYS_NICE CAP_SYS_RESOURCE CAP_MKNOD";

/// The unit of the service. VMs outlive it: they are in scopes of their own, or at least not killed with it.
#[must_use]
pub fn unit(wish: &Wish) -> String {
    let (program, config, dir) = (wish.program.display(), wish.config.display(), wish.dir.display());
    format!(
        "{MARK} init. Add to it with: systemctl edit minions
[Unit]
Description=minions, instant VMs
After=network-online.target local-fs.target lvm2-monitor.service nftables.service
Wants=network-online.target
# Its VMs need it: it is tried for as long as it takes.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} serve --config {config}
ExecReload=/bin/kill -HUP $MAINPID
# The time in which a probe boot shows whether guests run on the processor is in it.
TimeoutStartSec=5min
TimeoutStopSec=1min
# The service says twice as often that it lives.
WatchdogSec=2min
Restart=on-failure
RestartSec=1s
# Bad words and a bad configuration are still so the next time.
RestartPreventExitStatus=2 78
# VMs go on when the service ends or is upgraded.
KillMode=process
Slice=minions.slice
TasksMax=infinity
LimitNOFILE=1048576
LimitMEMLOCK=infinity
UMask=0077

# What monitors are started with they inherit, and so what they need must stay open too: devices, the mounts of their views,
# memory that is code where QEMU emulates.
CapabilityBoundingSet={CAPABILITIES}
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={dir} /run -/etc/lvm /proc/sys/net
ProtectHome=read-only
# Forwarding is turned on, and IPv6 off on the bridges: what is written of the settings is above.
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictRealtime=yes
RestrictNamespaces=mnt ipc
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=~@clock @module @obsolete @raw-io @reboot @swap @cpu-emulation
SystemCallErrorNumber=EPERM
# Not ProtectKernelModules: it hides from lvm2 what the kernel has; loading is refused all the same.
# Not RestrictSUIDSGID: what is made in the folder of a VM belongs to its group, by the bit that this forbids.

[Install]
WantedBy=multi-user.target
"
    )
}
