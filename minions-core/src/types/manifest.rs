//! What an image's id is the digest of.

use super::id::ImageId;
use super::image::ImageDefaults;
use super::size::ByteSize;

/// The content of one file of an image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Bytes.
    pub size: ByteSize,
}

impl FileDigest {
    /// From a SHA-256 and a length.
    #[must_use]
    pub fn new(digest: &[u8], size: u64) -> Self {
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { sha256, size: ByteSize::bytes(size) }
    }

    /// Of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::new(&hmac_sha256::Hash::hash(bytes), u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }
}

/// Names everything of an image by its content. Its own digest is the image's id, so that an id can be checked
/// against the files wherever they came from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// The tag that people use.
    pub name: String,
    /// The raw filesystem.
    pub root: FileDigest,
    /// The kernel.
    pub kernel: FileDigest,
    /// The initrd.
    pub initrd: FileDigest,
    /// What a VM gets where its creator says nothing.
    #[serde(default)]
    pub defaults: ImageDefaults,
}

impl ImageManifest {
    /// The canonical bytes: compact JSON, fields in the order of the type.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Plain strings and numbers: serde_json cannot fail on them.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The image's id.
    #[must_use]
    pub fn id(&self) -> ImageId {
        ImageId::from_digest(hmac_sha256::Hash::hash(self.to_json().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> ImageManifest {
        ImageManifest {
            name: "tiny".to_owned(),
            root: FileDigest::of(b"root"),
            kernel: FileDigest::of(b"kernel"),
            initrd: FileDigest::of(b"initrd"),
            defaults: ImageDefaults::default(),
        }
    }

    #[test]
    fn the_id_follows_every_field() {
        let base = manifest().id();
        let changes: [fn(&mut ImageManifest); 5] = [
            |manifest| manifest.name = "other".to_owned(),
            |manifest| manifest.root = FileDigest::of(b"r00t"),
            |manifest| manifest.kernel = FileDigest::of(b"k"),
            |manifest| manifest.initrd = FileDigest::of(b"i"),
            |manifest| manifest.defaults.cmdline = "x".to_owned(),
        ];
        for change in changes {
            let mut other = manifest();
            change(&mut other);
            assert_ne!(other.id(), base, "{other:?}");
        }
    }

    #[test]
    fn a_manifest_reads_back_to_the_same_id() {
        let text = manifest().to_json();
        let back: ImageManifest = serde_json::from_str(&text).unwrap();
        assert_eq!(back.id(), manifest().id());
    }
}
