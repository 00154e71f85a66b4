//! Words about the life of a VM.

use std::time::Duration;

use clap::{Args, ValueEnum};
use minions_core::service::VmRef;
use minions_core::types::{ByteSize, Ipv4Cidr, NewVmName, OperationId, UserName, VmId};

use super::{duration, operation, range, size, vm_id, vm_name, vm_ref};

/// How long to wait for what was asked.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Return as soon as the request is accepted, and print the id of its operation
    #[arg(long)]
    pub no_wait: bool,
    /// Wait until it is done (the default)
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// Stop waiting after this long; the work goes on
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
    /// Print what took how long
    #[arg(long, conflicts_with = "no_wait")]
    pub timings: bool,
}

#[derive(Debug, Args)]
pub struct Create {
    /// Its name: 1 to 40 lower-case letters, digits and hyphens, beginning with a letter; not one of those below
    #[arg(value_parser = vm_name)]
    pub name: NewVmName,
    /// The image's tag, its id or the beginning of it; see `minions image list`
    #[arg(long)]
    pub image: Option<String>,
    /// Processors; else as many as the image or the service says (2)
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory, such as 2GiB, at least 96MiB with QEMU; else what the image or the service says (1GiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<ByteSize>,
    /// Root disk, such as 20GiB; else what the image or the service says (10GiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub disk: Option<ByteSize>,
    /// Data disk at /data, such as 100GiB, at least 16MiB; else what the service says (10GiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub data_disk: Option<ByteSize>,
    /// No data disk
    #[arg(long, conflicts_with = "data_disk")]
    pub no_data_disk: bool,
    /// Take over the data disk that a destroyed VM left; its id is in `minions disk list`
    #[arg(long, value_name = "ID", value_parser = vm_id, conflicts_with = "no_data_disk")]
    pub data_from: Option<VmId>,
    /// Send to these ranges of addresses only, such as 203.0.113.0/24,198.51.100.7; else to everything public
    #[arg(long, value_name = "RANGES", value_delimiter = ',', value_parser = range)]
    pub egress: Option<Vec<Ipv4Cidr>>,
    /// Carry at most so much a second each way, such as 10MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub rate: Option<ByteSize>,
    /// Whose it shall be; for admins
    #[arg(long, value_name = "USER")]
    pub owner: Option<UserName>,
    /// Let anybody reach its web name
    #[arg(long)]
    pub public: bool,
    /// The TCP port that its web name leads to; else whatever port listens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct List {
    /// Destroyed ones too
    #[arg(long)]
    pub deleted: bool,
}

#[derive(Debug, Args)]
pub struct One {
    /// Its name or id
    #[arg(value_name = "NAME", value_parser = vm_ref)]
    pub vm: VmRef,
}

#[derive(Debug, Args)]
pub struct Act {
    #[command(flatten)]
    pub one: One,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    pub one: One,
    /// At once, without asking the guest
    #[arg(long, conflicts_with = "grace")]
    pub force: bool,
    /// How long the guest has, at most 1h; 30s unless told otherwise
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub grace: Option<Duration>,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Destroy {
    #[command(flatten)]
    pub one: One,
    /// Leave the data disk, for another VM to take over: see `minions disk list`
    #[arg(long)]
    pub keep_data: bool,
    /// Do not ask; needed where there is no terminal to ask on, and with --json
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Rename {
    #[command(flatten)]
    pub one: One,
    /// Its new name
    #[arg(value_parser = vm_name)]
    pub new: NewVmName,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Expose {
    #[command(flatten)]
    pub one: One,
    /// The TCP port that its web name leads to
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), required_unless_present = "auto")]
    pub port: Option<u16>,
    /// Whatever port is found to listen
    #[arg(long, conflicts_with = "port")]
    pub auto: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Share {
    #[command(flatten)]
    pub one: One,
    /// Who may reach it
    #[arg(value_enum)]
    pub with: With,
    /// The user, where it is one by name
    #[arg(value_name = "OTHER", required_if_eq("with", "user"))]
    pub user: Option<UserName>,
    /// Not that user any more
    #[arg(long, requires = "user")]
    pub remove: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Who may reach a VM's web name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum With {
    /// Anybody
    Public,
    /// Its owner, and users whom it is shared with by name
    Private,
    /// One more user, who logs in first
    User,
}

#[derive(Debug, Args)]
#[group(id = "size", required = true, multiple = true, args = ["cpus", "memory", "disk", "data_disk"])]
pub struct Resize {
    #[command(flatten)]
    pub one: One,
    /// Processors
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<ByteSize>,
    /// Root disk, such as 20GiB; it grows while the VM runs, and never shrinks
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub disk: Option<ByteSize>,
    /// Data disk, such as 100GiB; likewise
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub data_disk: Option<ByteSize>,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Rebase {
    #[command(flatten)]
    pub one: One,
    /// The image's tag, its id or the beginning of it; else the newest of the tag that it has
    #[arg(long)]
    pub image: Option<String>,
    /// Do not ask; needed where there is no terminal to ask on, and with --json
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    Running,
    Stopped,
    Gone,
}

#[derive(Debug, Args)]
pub struct Wait {
    /// Its name or id
    #[arg(value_name = "NAME", value_parser = vm_ref, required_unless_present = "operation")]
    pub vm: Option<VmRef>,
    /// Until this operation has ended, well or not; its id is what `--no-wait` prints
    #[arg(long, value_name = "ID", value_parser = operation, conflicts_with_all = ["vm", "state"])]
    pub operation: Option<OperationId>,
    /// The state
    #[arg(long = "for", value_enum, default_value = "running", value_name = "STATE")]
    pub state: WaitFor,
    /// Stop waiting after this long
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
}
