//! Volumes: thin volumes with our label. Each changing step is one that lvm2 does wholly or not at all.

use std::sync::Arc;

use super::Inner;
use super::command::{ASIDE, OURS, image_of, volume_tags};
use super::error::LvmError;
use super::wire::{LogicalVolume, Report};
use super::{MAX_VOLUME, VolumeConfig, VolumeStatus, device, image, pool};
use crate::storage::VolumeSource;
use crate::types::{ByteSize, ImageId, VolumeId, names};

/// Whether a logical volume is ours.
pub(super) fn ours(volume: &LogicalVolume) -> bool {
    volume.tags.iter().any(|tag| tag == OURS)
}

fn is_aside(volume: &LogicalVolume) -> bool {
    volume.tags.iter().any(|tag| tag == ASIDE)
}

/// The volume of an id, whoever's it is.
fn find(report: &Report, id: VolumeId) -> Option<&LogicalVolume> {
    report.volume(&names::volume(id))
}

/// What is behind a number in quarantine: it makes room for a second one of the same name.
const NUMBER: char = '+';

/// Volumes of ours with their ids: those in quarantine, or the others.
fn ids(report: &Report, aside: bool) -> impl Iterator<Item = (VolumeId, &LogicalVolume)> {
    report.volumes.iter().filter(move |volume| ours(volume) && is_aside(volume) == aside).filter_map(move |volume| {
        let name = match aside {
            true => volume.name.split(NUMBER).next()?,
            false => &volume.name,
        };
        Some((names::volume_of(name)?, volume))
    })
}

fn sorted(ids: impl Iterator<Item = VolumeId>) -> Vec<VolumeId> {
    let mut ids: Vec<VolumeId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Volumes that are not set aside.
pub(super) fn list(report: &Report) -> Vec<VolumeId> {
    sorted(ids(report, false).map(|(id, _)| id))
}

/// Volumes that are.
pub(super) fn quarantined(report: &Report) -> Vec<VolumeId> {
    sorted(ids(report, true).map(|(id, _)| id))
}

/// Logical volumes with our label and names that we never gave.
pub(super) fn strays(report: &Report) -> impl Iterator<Item = &str> {
    let known = |volume: &LogicalVolume| {
        let name = volume.name.split(NUMBER).next().unwrap_or_default();
        names::volume_of(name).is_some() || volume.name.parse::<ImageId>().is_ok()
    };
    report.volumes.iter().filter(move |volume| ours(volume) && !known(volume)).map(|volume| volume.name.as_str())
}

/// What a host that has just booted has not made devices of yet.
pub(super) fn asleep(report: &Report) -> Vec<&str> {
    ids(report, false).filter(|(_, volume)| !volume.active).map(|(_, volume)| volume.name.as_str()).collect()
}

/// A volume, in quarantine or not, that began as this image: it boots with the image's kernel.
pub(super) fn child_of(report: &Report, id: ImageId) -> Option<&LogicalVolume> {
    report.volumes.iter().find(|volume| ours(volume) && image_of(&volume.tags) == Some(id))
}

/// Every volume that a filter lets through.
pub(super) fn statuses(inner: &Inner, report: &Report, of: impl Fn(VolumeId) -> bool) -> Vec<VolumeStatus> {
    let found = ids(report, false).filter(|(id, _)| of(*id));
    let mut statuses: Vec<VolumeStatus> = found
        .map(|(id, volume)| VolumeStatus {
            id,
            size: volume.size,
            path: inner.device(&volume.name),
            whole: true,
            active: volume.active,
        })
        .collect();
    statuses.sort_unstable_by_key(|status| status.id);
    statuses
}

/// A size that lvm2 would give for one that is asked for.
fn rounded(size: ByteSize, extent: ByteSize) -> ByteSize {
    ByteSize::bytes(size.get().div_ceil(extent.get().max(1)).saturating_mul(extent.get().max(1)))
}

pub(super) async fn ensure(inner: Arc<Inner>, config: VolumeConfig) -> Result<(), LvmError> {
    if config.size > MAX_VOLUME {
        return Err(LvmError::TooLarge { want: config.size, most: MAX_VOLUME });
    }
    let name = names::volume(config.id);
    let other = match config.source {
        VolumeSource::Empty => None,
        VolumeSource::Image(id) => Some(id.to_string()),
    };
    let touched: Vec<&str> = std::iter::once(name.as_str()).chain(other.as_deref()).collect();
    let mut report = inner.calls.recent(&touched).await?;
    if find(&report, config.id).is_some_and(|volume| ours(volume) && is_aside(volume)) {
        // It was being set aside, and has its name still.
        set_aside(&inner, &report, config.id).await?;
        report = inner.calls.recent(&touched).await?;
    }
    if find(&report, config.id).is_none() {
        match make(&inner, &report, &config).await {
            Ok(()) => return Ok(()),
            Err(LvmError::Command(error)) => {
                // Why? Somebody else may have made it, or filled the pool, or it was made all the same.
                report = inner.calls.report().await?;
                if find(&report, config.id).is_none() {
                    pool::admit(&report, inner.calls.place())?;
                    return Err(LvmError::Command(error));
                }
            }
            Err(error) => return Err(error),
        }
    }
    grow(&inner, &report, &config).await
}

async fn make(inner: &Inner, report: &Report, config: &VolumeConfig) -> Result<(), LvmError> {
    let place = inner.calls.place();
    let name = names::volume(config.id);
    match config.source {
        VolumeSource::Empty => {
            pool::admit(report, place)?;
            let make = place.make(&name, config.size.max(ByteSize::bytes(1)), &volume_tags(config.id, None));
            inner.calls.change(&[&name], &make).await
        }
        VolumeSource::Image(id) => {
            let image = image::find(report, id).ok_or(LvmError::NoImage(id))?;
            let Some(info) = image::info(inner, id).await? else { return Err(LvmError::NoImage(id)) };
            pool::admit(report, place)?;
            let snapshot = place.snapshot(&image.name, &name, &volume_tags(config.id, Some(id)));
            inner.calls.change(&[&name], &snapshot).await?;
            let want = rounded(config.size.max(info.root_size), report.extent);
            match want > image.size {
                true => inner.calls.change(&[&name], &place.extend(&name, want)).await,
                false => Ok(()),
            }
        }
    }
}

/// One that exists: its bytes are its guest's, only its length may rise.
async fn grow(inner: &Inner, report: &Report, config: &VolumeConfig) -> Result<(), LvmError> {
    let name = names::volume(config.id);
    let Some(volume) = find(report, config.id) else { return Err(LvmError::NoVolume(config.id)) };
    if !ours(volume) {
        return Err(LvmError::Foreign(name));
    }
    let began = image_of(&volume.tags);
    let (same, least) = match config.source {
        VolumeSource::Empty => (began.is_none(), ByteSize::default()),
        VolumeSource::Image(id) => {
            let info = image::info(inner, id).await?;
            (began == Some(id), info.map(|info| info.root_size).unwrap_or_default())
        }
    };
    if !same {
        return Err(LvmError::OtherSource(config.id));
    }
    // A root that was asked for smaller than its image has the image's size, and stays so.
    let want = rounded(config.size.max(least), report.extent);
    if want < volume.size {
        return Err(LvmError::Shrink { id: config.id, have: volume.size, want: config.size });
    }
    let place = inner.calls.place();
    if want > volume.size {
        pool::admit(report, place)?;
        inner.calls.change(&[&name], &place.extend(&name, want)).await?;
    }
    match volume.active {
        true => Ok(()),
        false => inner.calls.change(&[&name], &place.activate([name.as_str()])).await,
    }
}

pub(super) async fn ensure_absent(inner: Arc<Inner>, id: VolumeId) -> Result<(), LvmError> {
    let name = names::volume(id);
    let report = inner.calls.report().await?;
    // A foreign one of its name is not it; one that is being set aside is kept.
    let Some(volume) = find(&report, id).filter(|volume| ours(volume) && !is_aside(volume)) else { return Ok(()) };
    if volume.open {
        return Err(LvmError::InUse(name));
    }
    remove(&inner, &name, volume.active).await
}

/// Removes a logical volume of ours that nobody has open.
pub(super) async fn remove(inner: &Inner, name: &str, active: bool) -> Result<(), LvmError> {
    if active {
        let path = inner.device(name);
        let discarded = tokio::task::spawn_blocking(move || device::discard(&path)).await;
        // Never in the way of a removal, which gives the blocks back to the pool; that one gives out zeros only.
        if let Err(error) = discarded.map_err(|_| LvmError::Stopped)? {
            tracing::warn!(%error, name, "cannot discard what a volume held before it is removed");
        }
    }
    match inner.calls.change(&[name], &inner.calls.place().remove(name)).await {
        Err(LvmError::Command(error)) => match inner.calls.report().await?.volume(name) {
            None => Ok(()),
            Some(volume) if volume.open => Err(LvmError::InUse(name.to_owned())),
            Some(_) => Err(LvmError::Command(error)),
        },
        result => result,
    }
}

pub(super) async fn quarantine(inner: Arc<Inner>, id: VolumeId) -> Result<(), LvmError> {
    let report = inner.calls.report().await?;
    let Some(volume) = find(&report, id).filter(|volume| ours(volume)) else {
        return match quarantined(&report).contains(&id) {
            true => Ok(()),
            false => Err(LvmError::NoVolume(id)),
        };
    };
    let place = inner.calls.place();
    let name = volume.name.as_str();
    if volume.open {
        return Err(LvmError::InUse(name.to_owned()));
    }
    if volume.active {
        inner.calls.change(&[name], &place.deactivate(name)).await?;
    }
    // From this step on it is no longer listed.
    if !is_aside(volume) {
        inner.calls.change(&[name], &place.tag(name, ASIDE)).await?;
    }
    set_aside(&inner, &report, id).await
}

/// Makes room for another one of its name.
async fn set_aside(inner: &Inner, report: &Report, id: VolumeId) -> Result<(), LvmError> {
    let name = names::volume(id);
    let free = |target: &String| report.volume(target).is_none();
    let target = (0..u32::MAX).map(|number| format!("{name}{NUMBER}{number}")).find(free);
    let Some(target) = target else { return Err(LvmError::Foreign(name)) };
    inner.calls.change(&[&name, &target], &inner.calls.place().rename(&name, &target)).await
}
