//! What a host must have for bridges, each with the line to type.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::bridges;
use super::config::BridgeConfig;
use super::error::BridgeError;
use super::socket::Socket;
use super::tap;
use crate::host::command::Tool;
use crate::host::preflight::Finding;

/// The first `nft` that is known to take the table.
const NFT_AT_LEAST: (u32, u32) = (1, 0);

/// Looks at everything, changes nothing. In the network namespace of the calling thread.
pub async fn preflight(config: &BridgeConfig) -> Vec<Finding> {
    let mut findings = vec![net_admin(), tun(), nft(config).await, ip_forward(), conntrack(config.flows)];
    findings.extend(match config.check() {
        Ok(()) => host(config),
        Err(error) => vec![Finding::fail("bridge", error.to_string(), "change the section [network]")],
    });
    findings
}

fn net_admin() -> Finding {
    const CAP_NET_ADMIN: u32 = 12;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    match effective >> CAP_NET_ADMIN & 1 {
        1 => Finding::ok("net_admin", "interfaces and the firewall may be changed"),
        _ => Finding::fail(
            "net_admin",
            "interfaces may not be changed (CAP_NET_ADMIN)",
            "run it as root, or with network.kind = \"user\"",
        ),
    }
}

fn tun() -> Finding {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(tap::DEVICE);
    match opened.and_then(|file| file.metadata()) {
        // A monitor opens its port as its VM's own user, who is nobody else.
        Ok(meta) if meta.mode() & 0o006 != 0o006 => {
            Finding::fail("tun", format!("the users of VMs cannot open {}", tap::DEVICE), "chmod 0666 /dev/net/tun")
        }
        Ok(_) => Finding::ok("tun", tap::DEVICE),
        Err(error) => Finding::fail("tun", format!("{}: {error}", tap::DEVICE), "modprobe tun"),
    }
}

async fn nft(config: &BridgeConfig) -> Finding {
    const FIX: &str = "apt-get install nftables";
    let tool = Tool::new(&config.nft).arg("--version").limit(Duration::from_secs(10)).cap(4096);
    match tool.run().await {
        Ok(output) => judge_nft(&String::from_utf8_lossy(&output.stdout)),
        Err(error) => Finding::fail("nft", error.to_string(), FIX),
    }
}

/// `nftables v1.0.6 (Lester Gooch #5)`.
fn judge_nft(answer: &str) -> Finding {
    let version = answer.split_whitespace().find_map(|word| {
        let mut numbers = word.strip_prefix('v')?.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    let (major, minor) = NFT_AT_LEAST;
    match version {
        Some(version) if version >= NFT_AT_LEAST => Finding::ok("nft", answer.trim()),
        _ => Finding::fail(
            "nft",
            format!("nft {major}.{minor} or later is needed, found: {}", answer.trim()),
            "apt-get install nftables",
        ),
    }
}

fn ip_forward() -> Finding {
    match bridges::forwards() {
        Ok(true) => Finding::ok("ip_forward", "packets are handed on"),
        Ok(false) => Finding::warn(
            "ip_forward",
            "packets are not handed on yet; the service turns that on when it starts",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        Err(error) => Finding::fail("ip_forward", error.to_string(), "mount /proc"),
    }
}

/// Connections are tracked for all guests and the host in one table: who fills it cuts everybody off.
fn conntrack(flows: u32) -> Finding {
    match std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max") {
        Ok(most) => judge_conntrack(&most, flows),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::ok("conntrack", "no connection is tracked yet; that begins with the service")
        }
        Err(error) => Finding::warn("conntrack", error.to_string(), "sysctl net.netfilter.nf_conntrack_max"),
    }
}

fn judge_conntrack(most: &str, flows: u32) -> Finding {
    /// Guests that may take all that is theirs at once.
    const GREEDY: u64 = 16;
    let least = u64::from(flows) * GREEDY;
    match most.trim().parse::<u64>() {
        Ok(most) if most >= least => Finding::ok("conntrack", format!("{most} connections can be tracked")),
        _ => Finding::warn(
            "conntrack",
            format!(
                "{} connections can be tracked on this host; fewer than {GREEDY} guests with {flows} each fill that, and \
                 then nobody opens another",
                most.trim()
            ),
            format!("sysctl -w net.netfilter.nf_conntrack_max={least}"),
        ),
    }
}

fn host(config: &BridgeConfig) -> Vec<Finding> {
    let mut socket = match Socket::open(None) {
        Ok(socket) => socket,
        Err(error) => {
            return vec![Finding::fail(
                "bridge",
                format!("cannot look at interfaces: {error}"),
                "use a Linux with rtnetlink",
            )];
        }
    };
    let mut findings = Vec::new();
    for shard in 0..config.shards {
        let name = config.bridge(shard);
        findings.push(match bridges::find(&mut socket, config, shard) {
            Ok(Some(_)) => Finding::ok("bridge", format!("{name} is there, and ours")),
            Ok(None) => Finding::ok("bridge", format!("{name} will be made")),
            Err(BridgeError::Bridge { name, what, fix }) => Finding::fail("bridge", format!("{name} {what}"), fix),
            Err(error) => Finding::fail("bridge", told(&error), "try again"),
        });
    }
    match bridges::refuse_left(&mut socket, config) {
        Ok(()) => {}
        Err(BridgeError::Bridge { name, what, fix }) => {
            findings.push(Finding::fail("bridge", format!("{name} {what}"), fix));
        }
        Err(error) => findings.push(Finding::fail("bridge", told(&error), "try again")),
    }
    findings.push(match bridges::crossing(&mut socket, config) {
        Ok(None) => Finding::ok("address_pool", format!("{} is nobody else's", config.subnet)),
        Ok(Some(BridgeError::Overlap { subnet, route })) => Finding::fail(
            "address_pool",
            format!("the guests' {subnet} overlaps {route}, which this host reaches otherwise"),
            "set network.subnet to a private range that is not in use, such as 10.213.0.0/16",
        ),
        Ok(Some(error)) | Err(error) => Finding::fail("address_pool", told(&error), "try again"),
    });
    findings
}

fn told(error: &BridgeError) -> String {
    match error {
        BridgeError::Io { source, .. } => format!("{error}: {}", io::Error::from(source.kind())),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::preflight::FindingStatus;

    #[test]
    fn bad_28_an_old_nft_and_one_that_says_something_else_are_told_with_a_way_out() {
        assert_eq!(judge_nft("nftables v1.0.6 (Lester Gooch #5)\n").status, FindingStatus::Ok);
        assert_eq!(judge_nft("nftables v1.1.0").status, FindingStatus::Ok);
        for bad in ["nftables v0.9.8 (E.D.S.)", "", "busybox"] {
            let finding = judge_nft(bad);
            assert_eq!(finding.status, FindingStatus::Fail, "{bad}");
            assert!(finding.fix.is_some());
        }
    }

    #[test]
    fn ctl_3_5_a_host_whose_connections_a_few_guests_can_use_up_is_told_so() {
        assert_eq!(judge_conntrack("262144\n", 16_384).status, FindingStatus::Ok);
        for few in ["262143\n", "65536", "", "-1"] {
            let finding = judge_conntrack(few, 16_384);
            assert_eq!(finding.status, FindingStatus::Warn, "{few}");
            assert_eq!(finding.fix.as_deref(), Some("sysctl -w net.netfilter.nf_conntrack_max=262144"));
        }
    }

    #[tokio::test]
    async fn bad_28_a_host_without_nft_is_told_so() {
        let config = BridgeConfig::new("/nonexistent/nft".into()).unwrap();
        let findings = preflight(&config).await;
        let nft = findings.iter().find(|finding| finding.id == "nft").unwrap();
        assert_eq!((nft.status, nft.fix.as_deref()), (FindingStatus::Fail, Some("apt-get install nftables")));
    }
}
