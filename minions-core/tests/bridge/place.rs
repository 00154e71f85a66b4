//! A network namespace of a test's own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use minions_core::host::command::{Output, Tool};
use minions_core::host::lookup;
use minions_core::network::PortConfig;
use minions_core::network::bridge::{BridgeConfig, BridgeNetwork};
use minions_core::testkit::skip;
use minions_core::types::{MacAddr, PortPolicy, VmId};

/// The calling thread is in it, and so is whatever it starts.
#[derive(Clone, Debug)]
pub struct Place {
    pub nft: PathBuf,
    pub ip: PathBuf,
}

impl Place {
    /// Enters a fresh one. `None`, said loudly, where this cannot be done.
    pub fn enter(case: &str) -> Option<Self> {
        let (Some(nft), Some(ip)) = (lookup::find("nft"), lookup::find("ip")) else {
            skip(case, "the programs nft and ip are not here (apt-get install nftables iproute2)");
            return None;
        };
        if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
            skip(case, &format!("/dev/net/tun: {error}"));
            return None;
        }
        #[expect(unsafe_code, reason = "no safe crate of ours enters namespaces")]
        // SAFETY: it takes a number, and changes nothing but which network this thread is in.
        let status = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        if status != 0 {
            skip(case, &format!("no network namespace of its own: {}", std::io::Error::last_os_error()));
            return None;
        }
        Some(Self { nft, ip })
    }

    pub fn config(&self) -> BridgeConfig {
        BridgeConfig::new(self.nft.clone()).unwrap()
    }

    pub async fn open(&self) -> BridgeNetwork {
        BridgeNetwork::open(self.config()).await.unwrap()
    }

    pub async fn run(&self, program: &Path, words: &str) -> Output {
        Tool::new(program).args(words.split_whitespace()).cap(16 << 20).run().await.unwrap()
    }

    pub async fn ip(&self, words: &str) -> String {
        String::from_utf8(self.run(&self.ip, words).await.stdout).unwrap()
    }

    pub async fn nft(&self, words: &str) -> String {
        String::from_utf8(self.run(&self.nft, words).await.stdout).unwrap()
    }

    /// Packets that a counter of ours has seen.
    pub async fn counter(&self, family: &str, name: &str) -> u64 {
        let text = self.nft(&format!("list counter {family} minions {name}")).await;
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }

    /// All that is there of ports: interfaces that bear a label, neighbours and elements. Not whether an interface is
    /// up: that comes a moment after whoever opens or closes it.
    pub async fn census(&self) -> String {
        let links = self.ip("-o link show type tun").await;
        let labels = links.lines().filter_map(|line| line.split_once("alias "));
        let mut all: String = labels.map(|(_, label)| format!("{label}\n")).collect();
        all.push_str(&self.ip("-o neighbour show nud permanent").await);
        for set in ["bridge minions ports", "bridge minions mac", "bridge minions ip4", "bridge minions rate_up"] {
            all.push_str(&elements(&self.nft(&format!("list set {set}")).await));
        }
        for set in ["only", "allow"] {
            all.push_str(&elements(&self.nft(&format!("list set inet minions {set}")).await));
        }
        all
    }
}

/// In an order of ours: the kernel's is by chance.
pub fn elements(set: &str) -> String {
    let elements = set.split_once("elements = ").map_or("", |(_, elements)| elements);
    let plain = elements.replace(['{', '}', '\n', '\t'], " ");
    let mut each: Vec<&str> = plain.split(',').map(str::trim).filter(|element| !element.is_empty()).collect();
    each.sort_unstable();
    each.join("\n")
}

/// The `number`-th guest of the first shard.
pub fn port(number: u16) -> PortConfig {
    let [high, low] = number.to_be_bytes();
    port_at(u128::from(number), Ipv4Addr::new(10, 0, high, low))
}

pub fn port_at(bits: u128, ip: Ipv4Addr) -> PortConfig {
    // Bits as an id has them: a clock first, then chance.
    let id =
        VmId::from_bits((0x0192_8374_6519_u128 << 80) | (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) << 8) | bits & 0xff);
    let mac = MacAddr::local(0x11_0000 + u64::from(u32::from(ip) & 0xff_ffff));
    PortConfig { id, ip, mac, uid: 70_000, policy: PortPolicy::default() }
}
