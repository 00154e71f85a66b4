//! Images: immutable, content-addressed bases.

use std::path::PathBuf;

use super::id::ImageId;
use super::size::{ByteSize, Vcpus};
use super::time::UnixMillis;
use crate::error::{Error, Result};

/// Bytes of the longest tag.
const MAX_TAG: usize = 64;

/// Checks the tag of a new image: 1 to 64 letters, digits and `-_.`, beginning with a letter or a digit. Anything else
/// could be taken for a path, an option, or something that a terminal obeys.
pub fn check_tag(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let label = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    if label && bytes.len() <= MAX_TAG && bytes.first().is_some_and(u8::is_ascii_alphanumeric) {
        return Ok(());
    }
    let message = "an image's name has 1 to 64 letters, digits and -_. and begins with a letter or a digit";
    Err(Error::invalid("name", message).with_reason("name_invalid"))
}

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
    /// What of its kernel and initrd is not as it was taken in, for people: no monitor is started with them then.
    pub damage: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_22_a_tag_that_could_mean_something_else_is_refused() {
        let long = "a".repeat(65);
        for text in
            ["", ".", "..", "../x", "a/b", "/", "/etc", "-rf", "_x", "a b", "a\nb", "a\0", "\u{1b}[2J", "bücher", &long]
        {
            let error = check_tag(text).expect_err(text);
            assert_eq!((error.reason(), error.field()), (Some("name_invalid"), Some("name")), "{text:?}");
        }
        for text in ["debian", "Debian-12.7_amd64", "0", &"a".repeat(64)] {
            check_tag(text).unwrap();
        }
    }
}
