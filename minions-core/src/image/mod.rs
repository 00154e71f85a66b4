//! Makes images: a root filesystem, a kernel, an initrd with our agent as its init, and what a VM gets by default.
//!
//! What comes out is an [`ImageBundle`](crate::types::ImageBundle), whose files lie in the folder that the build works in; a storage takes them
//! in by their content. The folder is the caller's to remove afterwards.

mod bake;
mod build;
mod bundle;
mod catalogue;
mod debian;
mod error;
mod initrd;
mod kernel;
mod kernel_check;
mod kernel_config;
mod modules;
mod rootfs;
mod stable;
mod tools;
mod tree;

use std::path::PathBuf;

use crate::types::{ByteSize, ImageDefaults};

pub use build::{bake_agent, build_busybox, build_debian, import};
pub use bundle::bundle;
pub use catalogue::{DEBIAN_CLOUD, KernelEntry, KernelSource, Kernels};
pub use debian::DebianConfig;
pub use initrd::write_initrd;
pub use kernel::{KernelFiles, fetch_kernel};
pub use kernel_check::{KernelFormat, KernelInfo, check_kernel, check_kernel_bytes};
pub use kernel_config::{KERNEL_CONFIG, MissingOption, missing_options, needed_options};
pub use tools::ImageTools;

/// The same image as [`build_busybox`] makes is called so.
pub const BUSYBOX: &str = "busybox";

/// The same image as [`build_debian`] makes is called so.
pub const DEBIAN: &str = "debian";

/// How an image is built.
#[derive(Clone, Debug)]
pub struct BuildConfig {
    /// The tag that people use.
    pub name: String,
    /// The folder to work in, and in which the files lie afterwards. It is made, and what is in it of an earlier build
    /// is replaced.
    pub work_dir: PathBuf,
    /// The guest agent: a static binary.
    pub agent: PathBuf,
    /// Kernel and modules, where they are at hand; fetched otherwise.
    pub kernel: Option<KernelFiles>,
    /// Where a fetched kernel is kept for the next build.
    pub kernel_cache: PathBuf,
    /// Bytes of the root filesystem.
    pub root_size: ByteSize,
    /// The programs that a build needs.
    pub tools: ImageTools,
    /// Where Debian's packages come from; Debian's own mirror unless given.
    pub mirror: Option<String>,
    /// What a VM gets where its creator says nothing.
    pub defaults: ImageDefaults,
}

/// How a raw filesystem that exists becomes an image.
#[derive(Clone, Debug)]
pub struct ImportConfig {
    /// The raw filesystem. It is only read.
    pub root: PathBuf,
    /// Everything else. `root_size` is not looked at.
    pub build: BuildConfig,
}

/// How a root that boots by itself becomes an image.
#[derive(Clone, Debug)]
pub struct BakeConfig {
    /// A folder or a tar archive with a root in it, a kernel and its initrd in its `boot`. It is only read.
    pub source: PathBuf,
    /// Everything else. `kernel`, `kernel_cache` and `mirror` are not looked at.
    pub build: BuildConfig,
}

/// What a build is doing, for whoever waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step that begins, such as `fetch the kernel`.
    pub step: &'static str,
    /// Which step it is, from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

/// Is told about each step as it begins.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);
