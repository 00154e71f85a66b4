//! Images: immutable, content-addressed bases.

use std::path::PathBuf;

use super::id::ImageId;
use super::size::{ByteSize, Vcpus};
use super::time::UnixMillis;

/// What a VM gets where its creator says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageDefaults {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<Vcpus>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Size of the root disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ByteSize>,
    /// Added to the kernel's command line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
}

/// What a monitor needs to start a kernel directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd that holds our agent as its init.
    pub initrd: PathBuf,
}

/// The three files and the defaults that become an image when a storage takes them in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBundle {
    /// The SHA-256 of the manifest, which names the SHA-256 of each file.
    pub id: ImageId,
    /// The tag that people use, such as `debian` or `busybox`.
    pub name: String,
    /// A raw filesystem.
    pub root: PathBuf,
    /// Kernel and initrd.
    pub boot: BootFiles,
    /// What a VM gets where its creator says nothing.
    pub defaults: ImageDefaults,
}

/// An image that a storage holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its content address.
    pub id: ImageId,
    /// Its tag.
    pub name: String,
    /// Bytes of its root filesystem: the least that a root disk has.
    pub root_size: ByteSize,
    /// Where its kernel and initrd lie.
    pub boot: BootFiles,
    /// What a VM gets where its creator says nothing.
    pub defaults: ImageDefaults,
    /// When it was taken in.
    pub created: UnixMillis,
}
