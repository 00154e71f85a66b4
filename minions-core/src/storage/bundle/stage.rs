//! Folders that are being made or taken apart.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::BundleError;
use crate::host::files::{self, FileId};

/// A folder below `tmp` that only we work in. Cleared when it is dropped without having been published.
#[derive(Debug)]
pub(in crate::storage) struct Stage {
    path: PathBuf,
    lock: Option<File>,
}

fn lock(path: &Path) -> io::Result<Option<File>> {
    let dir = files::open_dir(path)?;
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Published or cleared by its owner between our open and our lock?
    match FileId::at(path) {
        Ok(id) if id == FileId::of(&dir)? => Ok(Some(dir)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Clears what nobody works on any more.
pub(in crate::storage) fn clear(tmp: &Path) -> Result<(), BundleError> {
    let io = BundleError::io("clear what a crash left");
    for name in files::names(tmp).map_err(&io)? {
        let path = tmp.join(name);
        match lock(&path) {
            Ok(Some(_lock)) => files::dir_absent(&path).map_err(&io)?,
            Ok(None) => {}
            // Not a folder: nothing of ours is left in that shape but the probe's files.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => files::absent(&path).map_err(&io)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
    }
    Ok(())
}

/// What a folder that is being taken apart is called behind its name.
const GONE: &str = ".gone";

/// Where something of this name may be unfinished.
pub(in crate::storage) fn places(tmp: &Path, name: &str) -> [PathBuf; 2] {
    [tmp.join(name), tmp.join(format!("{name}{GONE}"))]
}

/// Whose an unfinished folder is.
#[cfg(feature = "file-storage")]
pub(in crate::storage) fn name_of(entry: &str) -> &str {
    entry.strip_suffix(GONE).unwrap_or(entry)
}

/// Clears what is unfinished of one name.
pub(in crate::storage) fn clear_one(tmp: &Path, name: &str) -> Result<(), BundleError> {
    let io = BundleError::io("clear what a crash left");
    for path in places(tmp, name) {
        match lock(&path) {
            Ok(Some(_lock)) => files::dir_absent(&path).map_err(&io)?,
            Ok(None) if path.exists() => return Err(BundleError::Busy(name.to_owned())),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
    }
    Ok(())
}

impl Stage {
    /// An empty folder of this name, whatever a crash left in it.
    pub fn begin(tmp: &Path, name: &str) -> Result<Self, BundleError> {
        let io = BundleError::io("make a folder to work in");
        let path = tmp.join(name);
        files::make_dir(&path).map_err(&io)?;
        let Some(lock) = lock(&path).map_err(&io)? else { return Err(BundleError::Busy(name.to_owned())) };
        for entry in files::names(&path).map_err(&io)? {
            files::absent(&path.join(entry)).map_err(&io)?;
        }
        Ok(Self { path, lock: Some(lock) })
    }

    /// Where to work.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable and publishes it: whoever looks sees nothing before and everything after. Never replaces.
    pub fn publish(mut self, target: &Path) -> Result<(), BundleError> {
        let io = BundleError::io("publish");
        files::sync_dir(&self.path).map_err(&io)?;
        renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE)
            .map_err(|error| BundleError::from_errno("publish", error))?;
        self.lock = None;
        for path in [target, &self.path] {
            if let Some(parent) = path.parent() {
                files::sync_dir(parent).map_err(&io)?;
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.lock.take().is_some()
            && let Err(error) = files::dir_absent(&self.path)
        {
            // Not lost: the same call repeated or the next start clears it.
            tracing::warn!(%error, path = %self.path.display(), "cannot clear an unfinished folder");
        }
    }
}

/// Takes a published folder away: gone for everybody at once, its bytes a little later.
pub(in crate::storage) fn remove(tmp: &Path, published: &Path, name: &str) -> Result<(), BundleError> {
    let io = BundleError::io("remove");
    let [_, grave] = places(tmp, name);
    files::dir_absent(&grave).map_err(&io)?;
    match std::fs::rename(published, &grave) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(&io)?,
    }
    if let Some(parent) = published.parent() {
        files::sync_dir(parent).map_err(&io)?;
    }
    files::dir_absent(&grave).map_err(&io)
}
