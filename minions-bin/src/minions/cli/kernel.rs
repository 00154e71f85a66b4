//! Words about kernels.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Kernel {
    /// List the kernels that images can be made with
    #[command(visible_alias = "ls", after_help = "Examples:\n  minions kernel list")]
    List,
    /// Look whether a kernel can be started here, and whether it was configured for it
    #[command(after_help = "Examples:
  minions kernel check ./vmlinux
  minions kernel check /boot/vmlinuz-6.1.0-56-cloud-amd64 --config /boot/config-6.1.0-56-cloud-amd64")]
    Check {
        /// A bzImage (vmlinuz) or an ELF (vmlinux)
        file: PathBuf,
        /// Its configuration
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the configuration that a kernel needs to be a guest here
    #[command(after_help = "Examples:
  minions kernel config > minions.config    then, in a tree of Linux: scripts/kconfig/merge_config.sh .config minions.config")]
    Config,
    /// Fetch Debian's kernel for clouds, before an image asks for it
    #[command(after_help = "Examples:\n  minions kernel fetch")]
    Fetch,
    /// Take a kernel of your own in
    #[command(after_help = "Examples:
  minions kernel import mine --kernel ./vmlinux --modules /lib/modules/6.12.1 --config .config
  minions image build debian --kernel mine")]
    Import {
        /// What it shall be called
        name: String,
        /// A bzImage (vmlinuz) or an ELF (vmlinux)
        #[arg(long, value_name = "FILE")]
        kernel: PathBuf,
        /// Its modules, a folder lib/modules/VERSION
        #[arg(long, value_name = "FOLDER")]
        modules: PathBuf,
        /// Its configuration: it is refused where something is missing in it
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Delete a kernel; images that were made with it keep theirs
    #[command(visible_alias = "rm", after_help = "Examples:\n  minions kernel delete mine")]
    Delete {
        /// Its name
        name: String,
    },
}
