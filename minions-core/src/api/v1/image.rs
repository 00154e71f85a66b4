//! Images on the wire.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::types::{BootFiles, ByteSize, ImageBundle, ImageDefaults, ImageId, ImageInfo, UnixMillis};

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Image {
    /// Its content address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: ImageId,
    /// Its tag.
    pub name: String,
    /// Bytes of its root filesystem.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub size: ByteSize,
    /// When it was taken in, in milliseconds since 1970.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub created: UnixMillis,
}

impl From<&ImageInfo> for Image {
    fn from(info: &ImageInfo) -> Self {
        Self { id: info.id, name: info.name.clone(), size: info.root_size, created: info.created }
    }
}

/// All images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageList {
    /// The newest of a tag first.
    pub images: Vec<Image>,
}

/// Asks the service to take in an image whose files lie on its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportImage {
    /// The SHA-256 of its manifest, which names the SHA-256 of each file.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: ImageId,
    /// Its tag.
    pub name: String,
    /// Absolute path of the root filesystem.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub root: PathBuf,
    /// Absolute path of the kernel.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kernel: PathBuf,
    /// Absolute path of the initrd.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub initrd: PathBuf,
    /// What a VM gets where its creator says nothing.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub defaults: ImageDefaults,
}

impl From<&ImageBundle> for ImportImage {
    fn from(bundle: &ImageBundle) -> Self {
        Self {
            id: bundle.id,
            name: bundle.name.clone(),
            root: bundle.root.clone(),
            kernel: bundle.boot.kernel.clone(),
            initrd: bundle.boot.initrd.clone(),
            defaults: bundle.defaults.clone(),
        }
    }
}

impl From<ImportImage> for ImageBundle {
    fn from(request: ImportImage) -> Self {
        Self {
            id: request.id,
            name: request.name,
            root: request.root,
            boot: BootFiles { kernel: request.kernel, initrd: request.initrd },
            defaults: request.defaults,
        }
    }
}
