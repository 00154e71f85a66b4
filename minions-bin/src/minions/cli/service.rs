//! Words about the service itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Host {
    /// Show what the service runs on, and how full it is
    #[command(after_help = "Examples:\n  minions host status")]
    Status,
}

#[derive(Debug, Subcommand)]
pub enum Context {
    /// List them, and which is in use
    #[command(
        after_help = "Examples:\n  minions context list\n  minions context list --json | jq -r '.contexts[].name'"
    )]
    List,
    /// Give a service a name; the first one is in use at once
    #[command(after_help = "Examples:
  minions context add home --server http://127.0.0.1:7777 --token-file ~/.config/minions/home.token
  minions context add here --dir ./.minions

Adding a name again says anew where it is. The token stays in its own file, and goes to this server only.")]
    Add {
        /// What to call it
        name: String,
    },
    /// Use one from now on, where no --server, --dir, --context or variable says otherwise
    #[command(
        after_help = "Examples:\n  minions context use home\n  minions context use            the service of this machine again"
    )]
    Use {
        /// Which; none for the service of this machine
        name: Option<String>,
    },
    /// Forget one; its token file is left
    #[command(visible_alias = "rm", after_help = "Examples:\n  minions context remove home")]
    Remove {
        /// Which
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Serve {
    /// What runs the VMs: auto, memory, qemu or cloud-hypervisor; auto takes the best that works, and never memory
    #[arg(long)]
    pub backend: Option<minions_core::config::Backend>,
    /// The configuration file [env: MINIONS_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Also listen on this TCP address, for clients with a token; needs api.token_file in the configuration
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<std::net::SocketAddr>,
    /// Let people into their VMs over SSH at this address: ssh NAME@host -p PORT
    #[arg(long, value_name = "ADDR")]
    pub ssh: Option<std::net::SocketAddr>,
    /// Lead web names to VMs at this address: `https://NAME.DOMAIN`
    #[arg(long, value_name = "ADDR", requires = "domain")]
    pub https: Option<std::net::SocketAddr>,
    /// Send browsers that came without encryption from this address to HTTPS
    #[arg(long, value_name = "ADDR", requires = "https")]
    pub http: Option<std::net::SocketAddr>,
    /// The domain below which each VM has a name
    #[arg(long, value_name = "NAME", requires = "https")]
    pub domain: Option<String>,
    /// Where people log in; minions.DOMAIN where absent
    #[arg(long, value_name = "NAME", requires = "https")]
    pub control_domain: Option<String>,
    /// Where certificates come from
    #[arg(long, value_enum, default_value = "dev", requires = "https")]
    pub tls: Tls,
    /// With --tls files: one PEM file with the key and its chain, read again when it changes
    #[arg(long, value_name = "FILE", requires = "https")]
    pub tls_file: Option<PathBuf>,
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tls {
    /// An authority of this service's own, for development: state/dev-ca.pem in its folder
    Dev,
    /// A file
    Files,
}

#[derive(Debug, Args)]
pub struct Init {
    /// Make it so that it is the same after a reboot: modules, settings, and a systemd unit that starts the service
    #[arg(long)]
    pub persist: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do it without asking
    #[arg(long, short)]
    pub yes: bool,
    /// Start the service, too; needs --persist
    #[arg(long, requires = "persist")]
    pub start: bool,
    /// What shall run the VMs: auto, qemu or cloud-hypervisor
    #[arg(long)]
    pub backend: Option<minions_core::config::Backend>,
    /// Where disks lie: lvm (a thin pool) or file (the service's folder)
    #[arg(long)]
    pub storage: Option<minions_core::config::StorageKind>,
    /// How guests reach the world: bridge (each pinned and kept apart) or user (the monitor's own NAT)
    #[arg(long)]
    pub network: Option<minions_core::config::NetworkKind>,
    /// A blank disk for the thin pool, where the volume group is not there yet; may be said several times
    #[arg(long, value_name = "DISK")]
    pub device: Vec<PathBuf>,
    /// The volume group
    #[arg(long, value_name = "GROUP")]
    pub volume_group: Option<String>,
    /// The thin pool in it
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// Mend what can be mended without making anything new: modules, settings, modes, files of ours, the pool's settings
    #[arg(long)]
    pub fix: bool,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Go on as they happen
    #[arg(long, short)]
    pub follow: bool,
    /// Begin after this event's number, at the `start` of what is kept, or `now`; with -f now, else at the start
    #[arg(long, value_name = "PLACE", value_parser = place)]
    pub after: Option<Place>,
}

/// Where to begin among the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With the oldest that is kept.
    Start,
    /// After this one.
    After(u64),
    /// With the next.
    Now,
}

fn place(text: &str) -> Result<Place, String> {
    match text {
        "start" => Ok(Place::Start),
        "now" => Ok(Place::Now),
        number => number.parse().map(Place::After).map_err(|_| "write an event's number, start, or now".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Say everything that is wrong with a configuration file
    #[command(after_help = "Examples:\n  minions config check /etc/minions/minions.toml")]
    Check {
        /// Which; else MINIONS_CONFIG, minions.toml in MINIONS_DIR, or /etc/minions/minions.toml
        file: Option<PathBuf>,
    },
    /// Show what a configuration file means, with all defaults
    #[command(after_help = "Examples:\n  minions config show\n  minions config show --json | jq .api")]
    Show {
        /// Which; else MINIONS_CONFIG, minions.toml in MINIONS_DIR, or /etc/minions/minions.toml
        file: Option<PathBuf>,
    },
}
