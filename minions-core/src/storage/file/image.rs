//! Images: taken in once, never changed.

use std::path::{Path, PathBuf};

use super::Inner;
use super::error::FileError;
use super::volume;
use crate::storage::bundle::{self, Source, stage};
use crate::types::{ImageBundle, ImageId};

const ROOT: &str = "root.raw";

pub(super) fn ensure(inner: &Inner, bundle: &ImageBundle) -> Result<(), FileError> {
    let name = bundle.id.to_string();
    let target = inner.images().join(&name);
    let there = target.is_dir();
    if there && is_whole(inner, bundle.id)? {
        return Ok(());
    }
    let stage = stage::Stage::begin(&inner.tmp(), &name)?;
    let root = bundle::take_in(Source::open("root", &bundle.root, true)?, &stage.path().join(ROOT))?;
    bundle::fill(stage.path(), bundle, root, inner.env.clock.wall())?;
    if there {
        // Volumes that began as it have bytes of their own.
        stage::remove(&inner.tmp(), &target, &name)?;
    }
    stage.publish(&target)?;
    // It has just been written: whoever starts the first VM of it need not read it again.
    is_whole(inner, bundle.id).map(drop)
}

/// Whether its kernel and initrd are what was taken in.
fn is_whole(inner: &Inner, id: ImageId) -> Result<bool, FileError> {
    let image = bundle::proven(&inner.images(), id, &inner.proven)?;
    Ok(image.is_none_or(|image| image.damage.is_none()))
}

/// Where an image's root lies.
pub(super) fn root(dir: &Path, id: ImageId) -> PathBuf {
    dir.join(id.to_string()).join(ROOT)
}

pub(super) fn ensure_absent(inner: &Inner, id: ImageId) -> Result<(), FileError> {
    if let Some(volume) = volume::child_of(inner, id)? {
        return Err(FileError::ImageInUse { image: id, volume });
    }
    let name = id.to_string();
    Ok(stage::remove(&inner.tmp(), &inner.images().join(&name), &name)?)
}
