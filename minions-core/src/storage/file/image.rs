//! Images: taken in once, never changed.

use std::path::Path;

use super::Inner;
use super::copy::take_in;
use super::error::FileError;
use super::stage::{self, Stage};
use super::volume;
use crate::host::files;
use crate::types::{BootFiles, ImageBundle, ImageId, ImageInfo, ImageManifest, UnixMillis};

const ROOT: &str = "root.raw";
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";
const MANIFEST: &str = "manifest.json";

/// What lies beside an image's files.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    manifest: ImageManifest,
    created: UnixMillis,
}

pub(super) fn ensure(inner: &Inner, bundle: &ImageBundle) -> Result<(), FileError> {
    let name = bundle.id.to_string();
    let target = inner.images().join(&name);
    if target.is_dir() {
        return Ok(());
    }
    let stage = Stage::begin(&inner.tmp(), &name)?;
    let dir = stage.path();
    let manifest = ImageManifest {
        name: bundle.name.clone(),
        root: take_in("root", &bundle.root, &dir.join(ROOT), true)?,
        kernel: take_in("kernel", &bundle.boot.kernel, &dir.join(KERNEL), false)?,
        initrd: take_in("initrd", &bundle.boot.initrd, &dir.join(INITRD), false)?,
        defaults: bundle.defaults.clone(),
    };
    let have = manifest.id();
    if have != bundle.id {
        return Err(FileError::Digest { want: bundle.id, have });
    }
    let stored = Stored { manifest, created: inner.env.clock.wall() };
    let text = serde_json::to_vec(&stored).map_err(|_| FileError::Broken(name.clone()))?;
    files::replace(&dir.join(MANIFEST), &text, 0o400).map_err(FileError::io("write a manifest"))?;
    stage.publish(&target)
}

/// An image's info; `None` where it is not there.
pub(super) fn info(inner: &Inner, id: ImageId) -> Result<Option<ImageInfo>, FileError> {
    let dir = inner.images().join(id.to_string());
    let text = match std::fs::read(dir.join(MANIFEST)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(FileError::io("read a manifest"))?,
    };
    let stored: Stored = serde_json::from_slice(&text).map_err(|_| FileError::Broken(id.to_string()))?;
    if stored.manifest.id() != id {
        return Err(FileError::Broken(id.to_string()));
    }
    Ok(Some(ImageInfo {
        id,
        name: stored.manifest.name,
        root_size: stored.manifest.root.size,
        boot: BootFiles { kernel: dir.join(KERNEL), initrd: dir.join(INITRD) },
        defaults: stored.manifest.defaults,
        created: stored.created,
    }))
}

/// Where an image's root lies.
pub(super) fn root(dir: &Path, id: ImageId) -> std::path::PathBuf {
    dir.join(id.to_string()).join(ROOT)
}

pub(super) fn list(inner: &Inner) -> Result<Vec<ImageInfo>, FileError> {
    let mut images = Vec::new();
    for name in files::names(&inner.images()).map_err(FileError::io("list the images"))? {
        let Ok(id) = name.parse() else { continue };
        if let Some(image) = info(inner, id)? {
            images.push(image);
        }
    }
    Ok(images)
}

pub(super) fn ensure_absent(inner: &Inner, id: ImageId) -> Result<(), FileError> {
    if let Some(volume) = volume::child_of(inner, id)? {
        return Err(FileError::ImageInUse { image: id, volume });
    }
    let name = id.to_string();
    stage::remove(&inner.tmp(), &inner.images().join(&name), &name)
}
