//! Words about images.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use minions_core::types::ByteSize;

use super::size;

#[derive(Debug, Subcommand)]
pub enum Image {
    /// List images
    #[command(visible_alias = "ls", after_help = "Examples:\n  minions image list")]
    List,
    /// Make an image and give it to the service on this machine
    #[command(after_help = "Examples:
  minions image build busybox                          tiny, for a look around
  sudo -E minions image build debian                   Debian 12 with systemd; needs mmdebstrap and root
  sudo -E minions image build debian --package git,vim --user ann
  sudo -E minions image build debian --snapshot 20261101T000000Z")]
    Build {
        /// Which
        #[arg(value_enum)]
        recipe: Recipe,
        /// Size of its root filesystem
        #[arg(long, value_name = "SIZE", value_parser = size)]
        root_size: Option<ByteSize>,
        /// Where Debian's packages come from
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        #[command(flatten)]
        debian: Debian,
        #[command(flatten)]
        making: Making,
    },
    /// Make an image of a raw ext4 filesystem, and give it to the service on this machine
    #[command(after_help = "Examples:\n  minions image import ./alpine.raw --name alpine")]
    Import {
        /// The raw ext4 filesystem; it is only read
        file: PathBuf,
        #[command(flatten)]
        making: Making,
    },
    /// Delete an image that no VM needs
    #[command(visible_alias = "rm", after_help = "Examples:\n  minions image delete busybox")]
    Delete {
        /// Its tag or id
        image: String,
    },
}

/// Which image to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recipe {
    /// Debian 12 with systemd
    Debian,
    /// A static busybox and nothing else
    Busybox,
}

/// What a Debian is like.
#[derive(Debug, Args)]
#[command(next_help_heading = "A Debian")]
pub struct Debian {
    /// Who may do everything with sudo, without a password
    #[arg(long, value_name = "NAME", default_value = "debian")]
    pub user: String,
    /// Have nobody but root
    #[arg(long, conflicts_with = "user")]
    pub no_user: bool,
    /// The language of its programs, such as de_DE.UTF-8
    #[arg(long, default_value = "C.UTF-8")]
    pub locale: String,
    /// More packages
    #[arg(long = "package", value_name = "NAME", value_delimiter = ',')]
    pub packages: Vec<String>,
    /// Packages as they were then, from snapshot.debian.org, such as 20261101T000000Z; the same ones become the same image
    #[arg(long, value_name = "TIME", conflicts_with = "mirror")]
    pub snapshot: Option<String>,
}

/// What `bake-agent` takes.
#[derive(Debug, Args)]
pub struct Bake {
    /// A folder or a tar archive with a root in it
    pub source: PathBuf,
    /// Size of its root filesystem
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "2GiB")]
    pub root_size: ByteSize,
    /// Its tag
    #[arg(long)]
    pub name: Option<String>,
    /// The guest agent, a static binary; looked for in DIR/bin and beside this program
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// The folder to work in
    #[arg(long, value_name = "FOLDER")]
    pub work_dir: Option<PathBuf>,
}

/// What every new image needs.
#[derive(Debug, Args)]
pub struct Making {
    /// Its tag
    #[arg(long)]
    pub name: Option<String>,
    /// The guest agent, a static binary; looked for in DIR/bin and beside this program
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// A kernel: a name of `minions kernel list`, or a file; Debian's own is fetched unless given
    #[arg(long, value_name = "NAME|FILE")]
    pub kernel: Option<PathBuf>,
    /// The modules of a kernel that is a file, a folder lib/modules/VERSION
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    pub modules: Option<PathBuf>,
    /// The folder to work in; what is left in it speeds up the next time
    #[arg(long, value_name = "FOLDER")]
    pub work_dir: Option<PathBuf>,
}
