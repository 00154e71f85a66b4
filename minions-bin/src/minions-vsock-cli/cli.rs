//! The words of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Talks to one agent by hand.
#[derive(Debug, Parser)]
#[command(name = "minions-vsock-cli", version, about)]
pub struct Words {
    /// The monitor's VSOCK socket on the host.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// The socket is the agent's own, not a monitor's: no CONNECT line is sent.
    #[arg(long)]
    pub plain: bool,
    /// The agent's VSOCK port.
    #[arg(long, default_value_t = minions_core::guest::AGENT_PORT)]
    pub port: u32,
    /// A file with the VM's secret: 64 hexadecimal digits.
    #[arg(long, value_name = "PATH")]
    pub secret_file: PathBuf,
    /// Seconds that a call may take; an exec may take longer.
    #[arg(long, default_value_t = 10)]
    pub timeout: u64,
    /// JSON on stdout, and errors as JSON on stderr.
    #[arg(long)]
    pub json: bool,
    #[command(subcommand)]
    pub call: Call,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub enum Call {
    /// Is the agent alive?
    Health,
    /// Processors, memory, disks, network, load, listening ports.
    Status,
    /// Interfaces, the way out, resolvers.
    Network,
    /// Runs a program; its exit code becomes this one's.
    Exec {
        /// Sends this command's stdin.
        #[arg(short, long)]
        stdin: bool,
        /// On a terminal of 24 lines and 80 columns.
        #[arg(short, long)]
        tty: bool,
        /// A name or a number.
        #[arg(short, long)]
        user: Option<String>,
        /// The working directory.
        #[arg(short = 'w', long)]
        cwd: Option<String>,
        /// NAME=VALUE, more than once if need be.
        #[arg(short, long, value_name = "NAME=VALUE")]
        env: Vec<String>,
        /// Bytes reach a terminal as the guest sent them.
        #[arg(long)]
        raw: bool,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        argv: Vec<String>,
    },
    /// Files of the guest.
    #[command(subcommand)]
    Files(Files),
}

/// Files of the guest.
#[derive(Clone, Debug, Subcommand)]
pub enum Files {
    /// What a path is.
    Stat {
        /// Absolute.
        path: String,
    },
    /// What a directory holds.
    List {
        /// Absolute.
        path: String,
    },
    /// A file to stdout.
    Read {
        /// Absolute.
        path: String,
    },
    /// Stdin to a file.
    Write {
        /// Absolute.
        path: String,
    },
    /// A file or a directory as a tar stream to stdout.
    Pack {
        /// Absolute.
        path: String,
    },
    /// A tar stream from stdin into a directory.
    Unpack {
        /// Absolute.
        dest: String,
    },
}
