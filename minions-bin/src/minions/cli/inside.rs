//! Words about what is inside a VM.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::One;
use super::{duration, ports};

#[derive(Debug, Args)]
pub struct Exec {
    /// A terminal in the guest; the default where stdin and stdout both are one
    #[arg(long, short)]
    pub tty: bool,
    /// No terminal, whatever stdin and stdout are
    #[arg(long, short = 'T', conflicts_with = "tty")]
    pub no_tty: bool,
    /// Send stdin (the default)
    #[arg(long, short, conflicts_with = "no_stdin")]
    pub interactive: bool,
    /// Do not send stdin: the program reads an empty one
    #[arg(long, short = 'n')]
    pub no_stdin: bool,
    /// Show what the program writes as it is, with whatever that does to your terminal; a terminal in the guest (-t) is
    /// always shown so
    #[arg(long)]
    pub raw: bool,
    /// Add a variable to the program's environment
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// The folder that it runs in, an absolute path
    #[arg(long, short = 'w', value_name = "DIR")]
    pub cwd: Option<String>,
    /// The user in the guest that it runs as; root unless told otherwise
    #[arg(long, short)]
    pub user: Option<String>,
    #[command(flatten)]
    pub one: One,
    /// The program and its arguments
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Copy {
    /// A path here, or VM:/path there
    pub from: OsString,
    /// A path here, or VM:/path there
    pub to: OsString,
    /// Accepted and ignored: folders are always copied whole
    #[arg(short, long, hide = true)]
    pub recursive: bool,
}

#[derive(Debug, Args)]
pub struct Forward {
    #[command(flatten)]
    pub one: One,
    /// LOCAL:REMOTE, or one port for both; local port 0 takes a free one
    #[arg(value_name = "LOCAL:REMOTE", required = true, value_parser = ports)]
    pub ports: Vec<(u16, u16)>,
}

#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub one: One,
    /// Go on with what the guest prints, line by line, until it ends; Ctrl-C leaves
    #[arg(long, short)]
    pub follow: bool,
    /// At most this many bytes from the end
    #[arg(long, value_name = "N", default_value = "65536", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub bytes: u32,
    /// As the guest wrote it, with whatever that does to a terminal
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Args)]
pub struct Console {
    #[command(flatten)]
    pub one: One,
    /// Begin with at most this many bytes from the end of the log
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub bytes: u32,
    /// Leave after this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}
