//! Images on the wire.

use serde::{Deserialize, Serialize};

use crate::types::{ByteSize, ImageId, ImageInfo, UnixMillis};

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
