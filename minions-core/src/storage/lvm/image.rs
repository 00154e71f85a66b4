//! Images: a read-only, inactive thin volume for the root, and a folder for the rest. An image is there when both are:
//! the volume is finished first, and the folder is the first to go.

use std::sync::Arc;

use super::Inner;
use super::command::{MAKING, image_tags};
use super::error::LvmError;
use super::volume::{self, ours};
use super::wire::{LogicalVolume, Report};
use super::{device, pool};
use crate::storage::bundle::{self, BundleError, Source, stage};
use crate::types::{ByteSize, ImageBundle, ImageId, ImageInfo};

/// The root of an image that is whole.
pub(super) fn find(report: &Report, id: ImageId) -> Option<&LogicalVolume> {
    report.volume(&id.to_string()).filter(|volume| ours(volume) && !is_making(volume))
}

fn is_making(volume: &LogicalVolume) -> bool {
    volume.tags.iter().any(|tag| tag == MAKING)
}

/// File work of an image.
async fn files<T: Send + 'static>(
    inner: &Inner,
    work: impl FnOnce(&Inner) -> Result<T, LvmError> + Send + 'static,
) -> Result<T, LvmError> {
    let inner = inner.clone();
    tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|_| LvmError::Stopped)?
}

/// Whether its folder is there, with a kernel and an initrd that are what was taken in.
fn is_whole(inner: &Inner, id: ImageId) -> Result<bool, LvmError> {
    Ok(bundle::proven(&inner.images(), id, &inner.proven)?.is_some_and(|image| image.damage.is_none()))
}

/// What the folder of an image says.
pub(super) async fn info(inner: &Inner, id: ImageId) -> Result<Option<ImageInfo>, LvmError> {
    files(inner, move |inner| Ok(bundle::info(&inner.images(), id)?)).await
}

pub(super) async fn list(inner: Arc<Inner>) -> Result<Vec<ImageInfo>, LvmError> {
    let report = inner.calls.report().await?;
    let mut images = files(&inner, |inner| Ok(bundle::list(&inner.images(), &inner.proven)?)).await?;
    images.retain(|image| find(&report, image.id).is_some());
    Ok(images)
}

pub(super) async fn ensure(inner: Arc<Inner>, bundle: ImageBundle) -> Result<(), LvmError> {
    let name = bundle.id.to_string();
    let mut report = inner.calls.report().await?;
    let id = bundle.id;
    let whole = files(&inner, move |inner| is_whole(inner, id)).await?;
    if whole && find(&report, bundle.id).is_some() {
        return Ok(());
    }
    pool::admit(&report, inner.calls.place())?;
    if let Some(left) = report.volume(&name) {
        if !ours(left) {
            return Err(LvmError::Foreign(name));
        }
        // Left by a crash, or its folder was lost. Roots that began as it share nothing but blocks with it.
        volume::remove(&inner, &name, left.active).await?;
        report = inner.calls.report().await?;
    }
    // A folder without its root is worth nothing.
    let (root, stage) = files(&inner, {
        let (name, root) = (name.clone(), bundle.root.clone());
        move |inner| {
            let root = Source::open("root", &root, true)?;
            stage::remove(&inner.tmp(), &inner.images().join(&name), &name)?;
            Ok((root, stage::Stage::begin(&inner.tmp(), &name)?))
        }
    })
    .await?;
    let place = inner.calls.place();
    pool::admit_bytes(&report, place, ByteSize::bytes(root.allocated()))?;
    inner.calls.change(&[&name], &place.make(&name, ByteSize::bytes(root.size()), &image_tags())).await?;
    match fill(&inner, &name, bundle, root, stage).await {
        Ok(stage) => {
            inner.calls.change(&[&name], &place.deactivate(&name)).await?;
            inner.calls.change(&[&name], &place.publish(&name)).await?;
            let publish = move |inner: &Inner| {
                stage.publish(&inner.images().join(name))?;
                // It has just been written: whoever starts the first VM of it need not read it again.
                is_whole(inner, id).map(drop)
            };
            files(&inner, publish).await
        }
        Err(error) => {
            // Nothing of a bad image stays. What cannot go now, the next call or start clears away.
            if let Err(error) = volume::remove(&inner, &name, true).await {
                tracing::warn!(%error, name, "cannot remove an image that came to nothing");
            }
            Err(error)
        }
    }
}

/// The root into its volume, the rest into its folder.
async fn fill(
    inner: &Inner,
    name: &str,
    bundle: ImageBundle,
    root: Source,
    stage: stage::Stage,
) -> Result<stage::Stage, LvmError> {
    let path = inner.device(name);
    let runtime = tokio::runtime::Handle::current();
    files(inner, move |inner| {
        // Others write, too, and other images are taken in: so much as there was room for may not be there any more.
        let room = || {
            let report = runtime.block_on(inner.calls.report())?;
            pool::admit(&report, inner.calls.place())
        };
        let digest = device::fill(&path, root, inner.look_every, room)?;
        bundle::fill(stage.path(), &bundle, digest, inner.env.clock.wall())?;
        Ok(stage)
    })
    .await
}

pub(super) async fn ensure_absent(inner: Arc<Inner>, id: ImageId) -> Result<(), LvmError> {
    let report = inner.calls.report().await?;
    if let Some(volume) = volume::child_of(&report, id) {
        return Err(LvmError::ImageInUse { image: id, volume: volume.name.clone() });
    }
    let name = id.to_string();
    let gone = name.clone();
    files(&inner, move |inner| {
        stage::remove(&inner.tmp(), &inner.images().join(&gone), &gone)?;
        Ok(stage::clear_one(&inner.tmp(), &gone)?)
    })
    .await?;
    match report.volume(&name).filter(|volume| ours(volume)) {
        Some(volume) if volume.open => Err(LvmError::InUse(name)),
        Some(volume) => volume::remove(&inner, &name, volume.active).await,
        None => Ok(()),
    }
}

/// Clears what a crash left half made, at the start: folders first, then the volumes whose folders nobody works in.
pub(super) async fn clear(inner: &Inner, report: &Report) -> Result<(), LvmError> {
    let io = BundleError::io("look for what a crash left");
    let busy = files(inner, move |inner| {
        stage::clear(&inner.tmp())?;
        Ok(crate::host::files::names(&inner.tmp()).map_err(io)?)
    })
    .await?;
    for volume in report.volumes.iter().filter(|volume| ours(volume) && is_making(volume)) {
        if !busy.contains(&volume.name) && volume.name.parse::<ImageId>().is_ok() {
            volume::remove(inner, &volume.name, volume.active).await?;
        }
    }
    Ok(())
}
