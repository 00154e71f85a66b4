//! Volumes: a folder with the disk and the name of what it began as.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Inner;
use super::copy::clone_or_sparse;
use super::error::FileError;
use super::image;
use super::{MAX_VOLUME, VolumeConfig, VolumeStatus};
use crate::host::{files, lock};
use crate::storage::VolumeSource;
use crate::storage::bundle;
use crate::storage::bundle::stage::{self, Stage};
use crate::types::{ByteSize, ImageId, VmId, VolumeId, names};

const DISK: &str = "disk.raw";
const IMAGE: &str = "image";

fn dir(inner: &Inner, id: VolumeId) -> PathBuf {
    inner.volumes().join(names::volume(id))
}

/// The disk, if the volume is there.
fn open(inner: &Inner, id: VolumeId) -> Result<Option<File>, FileError> {
    match files::open_write_existing(&dir(inner, id).join(DISK)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::Io { what: "open a volume", source: error }),
    }
}

/// What a volume began as; `None` for zeros.
fn source(dir: &Path) -> Result<Option<ImageId>, FileError> {
    let text = match std::fs::read_to_string(dir.join(IMAGE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(FileError::io("read what a volume began as"))?,
    };
    text.parse().map(Some).map_err(|_| FileError::Broken(dir.display().to_string()))
}

pub(super) fn ensure(inner: &Inner, config: &VolumeConfig) -> Result<(), FileError> {
    if config.size > MAX_VOLUME {
        return Err(FileError::TooLarge { want: config.size, most: MAX_VOLUME });
    }
    match open(inner, config.id)? {
        Some(disk) => grow(inner, config, &disk),
        None => make(inner, config),
    }
}

/// One that exists: its bytes are its guest's, only its length may rise.
fn grow(inner: &Inner, config: &VolumeConfig, disk: &File) -> Result<(), FileError> {
    let io = FileError::io("grow a volume");
    let began = source(&dir(inner, config.id))?;
    let (same, least) = match config.source {
        VolumeSource::Empty => (began.is_none(), ByteSize::default()),
        VolumeSource::Image(id) => {
            (began == Some(id), bundle::info(&inner.images(), id)?.map(|info| info.root_size).unwrap_or_default())
        }
    };
    if !same {
        return Err(FileError::OtherSource(config.id));
    }
    let have = ByteSize::bytes(disk.metadata().map_err(&io)?.len());
    // A root that was asked for smaller than its image has the image's size, and stays so.
    let want = config.size.max(least);
    if want < have {
        return Err(FileError::Shrink { id: config.id, have, want: config.size });
    }
    if want > have {
        disk.set_len(want.get()).map_err(&io)?;
        disk.sync_all().map_err(&io)?;
    }
    Ok(())
}

fn make(inner: &Inner, config: &VolumeConfig) -> Result<(), FileError> {
    let io = FileError::io("make a volume");
    let name = names::volume(config.id);
    let stage = Stage::begin(&inner.tmp(), &name)?;
    let disk = files::open_write(&stage.path().join(DISK), 0o600).map_err(&io)?;
    let mut size = config.size;
    if let VolumeSource::Image(id) = config.source {
        let root = match files::open_read(&image::root(&inner.images(), id)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(FileError::NoImage(id)),
            root => root.map_err(&io)?,
        };
        size = size.max(ByteSize::bytes(root.metadata().map_err(&io)?.len()));
        clone_or_sparse(&root, &disk)?;
        // Its name becomes durable with the folder.
        let mut began = files::open_write(&stage.path().join(IMAGE), 0o400).map_err(&io)?;
        began.write_all(id.to_string().as_bytes()).and_then(|()| began.sync_all()).map_err(&io)?;
    }
    disk.set_len(size.get()).map_err(&io)?;
    disk.sync_all().map_err(&io)?;
    drop(disk);
    Ok(stage.publish(&dir(inner, config.id))?)
}

pub(super) fn ensure_absent(inner: &Inner, id: VolumeId) -> Result<(), FileError> {
    let name = names::volume(id);
    if let Some(disk) = open(inner, id)? {
        if in_use(&disk)? {
            return Err(FileError::InUse(id));
        }
        drop(disk);
        stage::remove(&inner.tmp(), &dir(inner, id), &name)?;
    }
    Ok(stage::clear_one(&inner.tmp(), &name)?)
}

/// QEMU locks the disks that it opens; of a process that locks nothing, the filesystem knows.
fn in_use(disk: &File) -> Result<bool, FileError> {
    let io = FileError::io("ask who has a volume open");
    Ok(lock::is_locked(disk).map_err(&io)? || lock::is_open_elsewhere(disk).map_err(&io)? == Some(true))
}

pub(super) fn of(inner: &Inner, vm: VmId) -> Result<Vec<VolumeStatus>, FileError> {
    let of_this = list(inner)?.into_iter().filter(|id| id.vm == vm);
    // One that went meanwhile is not there.
    of_this.filter_map(|id| status(inner, id).transpose()).collect()
}

fn status(inner: &Inner, id: VolumeId) -> Result<Option<VolumeStatus>, FileError> {
    let name = names::volume(id);
    let published = (dir(inner, id), true);
    let unfinished = stage::places(&inner.tmp(), &name).map(|path| (path, false));
    for (place, whole) in std::iter::once(published).chain(unfinished) {
        let path = place.join(DISK);
        match std::fs::symlink_metadata(&path) {
            Ok(meta) => {
                return Ok(Some(VolumeStatus { id, size: ByteSize::bytes(meta.len()), path, whole, active: whole }));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !place.is_dir() => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some(VolumeStatus { id, size: ByteSize::default(), path, whole: false, active: false }));
            }
            Err(error) => return Err(FileError::Io { what: "look at a volume", source: error }),
        }
    }
    Ok(None)
}

pub(super) fn list(inner: &Inner) -> Result<Vec<VolumeId>, FileError> {
    let io = FileError::io("list the volumes");
    let published = files::names(&inner.volumes()).map_err(&io)?;
    let unfinished = files::names(&inner.tmp()).map_err(&io)?;
    let unfinished = unfinished.iter().map(|name| stage::name_of(name));
    let mut ids: Vec<VolumeId> =
        published.iter().map(String::as_str).chain(unfinished).filter_map(names::volume_of).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The name in quarantine: a number makes room for a second one of the same name.
fn set_aside(inner: &Inner, id: VolumeId, number: u32) -> PathBuf {
    inner.quarantine().join(format!("{}~{number}", names::volume(id)))
}

pub(super) fn quarantine(inner: &Inner, id: VolumeId) -> Result<(), FileError> {
    let io = FileError::io("set a volume aside");
    let from = dir(inner, id);
    if !from.is_dir() {
        return match quarantined(inner)?.contains(&id) {
            true => Ok(()),
            false => Err(FileError::NoVolume(id)),
        };
    }
    let target = (0..u32::MAX).map(|number| set_aside(inner, id, number)).find(|path| !path.exists());
    let Some(target) = target else { return Err(FileError::Busy(names::volume(id))) };
    std::fs::rename(&from, &target).map_err(&io)?;
    files::sync_dir(&inner.quarantine()).map_err(&io)?;
    files::sync_dir(&inner.volumes()).map_err(&io)
}

pub(super) fn quarantined(inner: &Inner) -> Result<Vec<VolumeId>, FileError> {
    let names = files::names(&inner.quarantine()).map_err(FileError::io("list the quarantine"))?;
    let mut ids: Vec<VolumeId> = names.iter().filter_map(|name| names::volume_of(name.split_once('~')?.0)).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// A volume, in quarantine or not, that began as this image: it boots with the image's kernel.
pub(super) fn child_of(inner: &Inner, id: ImageId) -> Result<Option<String>, FileError> {
    for folder in [inner.volumes(), inner.quarantine()] {
        for name in files::names(&folder).map_err(FileError::io("list the volumes"))? {
            if source(&folder.join(&name))? == Some(id) {
                return Ok(Some(name));
            }
        }
    }
    Ok(None)
}
