//! Names files by their content.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::ImageError;
use crate::error::Result;
use crate::host::{blocking, files};
use crate::types::{BootFiles, FileDigest, ImageBundle, ImageDefaults, ImageManifest};

fn digest(path: &Path) -> Result<FileDigest, ImageError> {
    let io = ImageError::io("read", path);
    let mut file = files::open_read(path).map_err(&io)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0u64, vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer).map_err(&io)?;
        if count == 0 {
            return Ok(FileDigest::new(&hash.finalize(), size));
        }
        hash.update(&buffer[..count]);
        size += u64::try_from(count).unwrap_or(0);
    }
}

/// The bundle of three files, ready for a storage: reads all of them once.
pub async fn bundle(name: &str, root: PathBuf, boot: BootFiles, defaults: ImageDefaults) -> Result<ImageBundle> {
    let name = name.to_owned();
    blocking(move || {
        let manifest = ImageManifest {
            name,
            root: digest(&root)?,
            kernel: digest(&boot.kernel)?,
            initrd: digest(&boot.initrd)?,
            defaults,
        };
        Ok(ImageBundle { id: manifest.id(), name: manifest.name, root, boot, defaults: manifest.defaults })
    })
    .await
}
