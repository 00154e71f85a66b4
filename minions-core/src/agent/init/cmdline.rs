//! What the kernel's command line tells our PID 1. It never holds a secret: every user of the guest can read it.
//!
//! | word | meaning |
//! | --- | --- |
//! | `minions.root=/dev/vda` | the root disk; needed |
//! | `minions.rootfs=ext4` | its file system |
//! | `minions.data=/dev/vdb` | the data disk, mounted at `/data`; made an ext4 where it is blank |
//! | `minions.ip=10.0.0.5/16` | the address; without it the network is left alone |
//! | `minions.gw=10.0.0.1` | the way out |
//! | `minions.dns=1.1.1.1,8.8.8.8` | resolvers |
//! | `minions.mac=02:…` | which interface; the first where it is not said |
//! | `minions.host=web` | the host name |
//! | `minions.next=/init` | we only leave the secret, and the image's own initrd goes on with this program |
//! | `minions.init=auto` | `auto`, `none`, or the path of the image's init |

use std::net::Ipv4Addr;

use crate::error::{Error, Result};

/// How the guest shall come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// The root disk.
    pub root: String,
    /// Its file system.
    pub root_fs: String,
    /// The data disk.
    pub data: Option<String>,
    /// The address and the length of its prefix.
    pub ip: Option<(Ipv4Addr, u8)>,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// Which interface, in lower case.
    pub mac: Option<String>,
    /// The host name.
    pub hostname: Option<String>,
    /// Who becomes PID 1.
    pub init: InitChoice,
}

/// Who becomes PID 1 after us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitChoice {
    /// The image's init where it has one, else we stay.
    Auto,
    /// We stay.
    None,
    /// This one.
    Path(String),
}

/// The value of one of our words; as with the kernel, the last one counts.
fn value(text: &str, name: &str) -> Option<String> {
    let found = |word: &str| word.strip_prefix("minions.")?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    text.split_ascii_whitespace().filter_map(found).next_back().filter(|value| !value.is_empty())
}

fn bad(name: &'static str) -> Error {
    Error::invalid(name, format!("the kernel's command line has a bad {name}"))
}

/// The program of the image's own initrd that goes on after us; `None` where the initrd is ours.
pub fn next(text: &str) -> Result<Option<String>> {
    match value(text, "next") {
        Some(path) if path.starts_with('/') => Ok(Some(path)),
        Some(_) => Err(bad("next")),
        None => Ok(None),
    }
}

impl BootPlan {
    /// Reads a command line. Words that are not ours are the kernel's.
    pub fn parse(text: &str) -> Result<Self> {
        let word = |name: &str| value(text, name);
        let address = |name: &'static str| word(name).map(|text| text.parse().map_err(|_| bad(name))).transpose();
        let device = |name: &'static str| match word(name) {
            Some(path) if path.starts_with("/dev/") => Ok(Some(path)),
            Some(_) => Err(bad(name)),
            None => Ok(None),
        };
        let ip = |text: String| {
            let (ip, prefix) = text.split_once('/')?;
            Some((ip.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?))
        };
        let dns = |text: String| text.split(',').map(|server| server.parse().map_err(|_| bad("dns"))).collect();
        Ok(Self {
            root: device("root")?
                .ok_or_else(|| Error::invalid("root", "the kernel's command line names no minions.root"))?,
            root_fs: word("rootfs").unwrap_or_else(|| "ext4".to_owned()),
            data: device("data")?,
            ip: word("ip").map(|text| ip(text).ok_or_else(|| bad("ip"))).transpose()?,
            gateway: address("gw")?,
            dns: word("dns").map(dns).transpose()?.unwrap_or_default(),
            mac: word("mac").map(|mac| mac.to_ascii_lowercase()),
            hostname: word("host"),
            init: match word("init").as_deref() {
                None | Some("auto") => InitChoice::Auto,
                Some("none") => InitChoice::None,
                Some(path) if path.starts_with('/') => InitChoice::Path(path.to_owned()),
                Some(_) => return Err(bad("init")),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_and_the_kernels_own_are_left_alone() {
        let plan = BootPlan::parse(
            "console=ttyS0 root=/dev/sda minions.root=/dev/vda minions.data=/dev/vdb minions.ip=10.0.0.5/16 \
             minions.gw=10.0.0.1 minions.dns=1.1.1.1,8.8.8.8 minions.mac=02:00:00:00:00:0A minions.host=web \
             minions.init=none\n",
        )
        .unwrap();
        assert_eq!(plan.root, "/dev/vda");
        assert_eq!(plan.data.as_deref(), Some("/dev/vdb"));
        assert_eq!(plan.ip, Some((Ipv4Addr::new(10, 0, 0, 5), 16)));
        assert_eq!(plan.gateway, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(plan.dns.len(), 2);
        assert_eq!(plan.mac.as_deref(), Some("02:00:00:00:00:0a"));
        assert_eq!(plan.hostname.as_deref(), Some("web"));
        assert_eq!(plan.init, InitChoice::None);
    }

    #[test]
    fn an_initrd_of_the_images_own_goes_on_only_where_that_is_said() {
        assert_eq!(next("minions.root=/dev/vda rdinit=/minions/agent").unwrap(), None);
        assert_eq!(next("minions.next=/x minions.next=/init quiet").unwrap().as_deref(), Some("/init"));
        assert!(next("minions.next=init").is_err());
    }

    #[test]
    fn a_line_without_a_root_or_with_bad_words_is_refused() {
        for bad in [
            "",
            "minions.root=vda",
            "minions.root=/dev/vda minions.ip=1.2.3.4",
            "minions.root=/dev/vda minions.ip=1.2.3.4/33",
            "minions.root=/dev/vda minions.dns=x",
            "minions.root=/dev/vda minions.init=sbin",
        ] {
            assert!(BootPlan::parse(bad).is_err(), "{bad}");
        }
        let plan = BootPlan::parse("minions.root=/dev/vda minions.root=/dev/vdc").unwrap();
        assert_eq!((plan.root.as_str(), plan.init), ("/dev/vdc", InitChoice::Auto));
    }
}
