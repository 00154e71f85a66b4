//! The guest's files, for SFTP and scp.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, FileTimes, Metadata, OpenOptions, Permissions, ReadDir};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt, chown, fchown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Timespec, Timestamps};

use crate::agent::exec::find_user;
use crate::api::guest::{FileAttrs, GuestFiles, OpenHow};

/// Taken off the permission bits of what is made, as a login shell's umask would.
const UMASK: u32 = 0o022;

/// All of them, as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealFiles;

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}

fn attrs(metadata: &Metadata) -> FileAttrs {
    let seconds = |seconds: i64| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    FileAttrs {
        size: Some(metadata.len()),
        owner: Some((metadata.uid(), metadata.gid())),
        mode: Some(metadata.mode()),
        times: Some((seconds(metadata.atime()), seconds(metadata.mtime()))),
    }
}

fn permissions(mode: u32) -> Permissions {
    Permissions::from_mode(mode & 0o7777)
}

impl GuestFiles for RealFiles {
    type File = File;
    type Dir = ReadDir;

    fn home(&self) -> Vec<u8> {
        // Where a command starts, too.
        let home = find_user("0").map(|root| root.home).unwrap_or_default();
        if Path::new(&home).is_dir() { home.into_bytes() } else { b"/".to_vec() }
    }

    fn open(&self, at: &[u8], how: &OpenHow) -> io::Result<File> {
        let mut flags = match (how.read, how.write || how.append) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        for (is, flag) in [
            (how.append, OFlags::APPEND),
            (how.create, OFlags::CREATE),
            (how.truncate, OFlags::TRUNC),
            (how.exclusive, OFlags::EXCL),
        ] {
            flags.set(flag, is);
        }
        // A pipe would keep the agent waiting for its other end.
        flags |= OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(how.mode & 0o777 & !UMASK);
        let file = File::from(rustix::fs::open(path(at), flags, mode)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    fn read(&self, file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        file.read_at(into, offset)
    }

    fn write(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn file_attrs(&self, file: &File) -> io::Result<FileAttrs> {
        file.metadata().map(|metadata| attrs(&metadata))
    }

    fn set_file_attrs(&self, file: &File, to: &FileAttrs) -> io::Result<()> {
        if let Some(size) = to.size {
            file.set_len(size)?;
        }
        if let Some((user, group)) = to.owner {
            fchown(file, Some(user), Some(group))?;
        }
        // After the owner: a change of that takes bits away.
        if let Some(mode) = to.mode {
            file.set_permissions(permissions(mode))?;
        }
        if let Some((read, written)) = to.times {
            let time = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
            file.set_times(FileTimes::new().set_accessed(time(read)).set_modified(time(written)))?;
        }
        Ok(())
    }

    fn attrs(&self, at: &[u8], follow: bool) -> io::Result<FileAttrs> {
        let metadata = if follow { std::fs::metadata(path(at)) } else { std::fs::symlink_metadata(path(at)) };
        metadata.map(|metadata| attrs(&metadata))
    }

    fn set_attrs(&self, at: &[u8], to: &FileAttrs, follow: bool) -> io::Result<()> {
        let at = path(at);
        // The kernel keeps neither a size nor permissions for a link itself.
        let is_link = !follow && std::fs::symlink_metadata(at)?.is_symlink();
        if let Some(size) = to.size.filter(|_| !is_link) {
            OpenOptions::new().write(true).open(at)?.set_len(size)?;
        }
        if let Some((user, group)) = to.owner {
            let change = if is_link { lchown } else { chown };
            change(at, Some(user), Some(group))?;
        }
        if let Some(mode) = to.mode.filter(|_| !is_link) {
            std::fs::set_permissions(at, permissions(mode))?;
        }
        if let Some((read, written)) = to.times {
            let time = |seconds: u32| Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
            let times = Timestamps { last_access: time(read), last_modification: time(written) };
            let flags = if is_link { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
            rustix::fs::utimensat(CWD, at, &times, flags)?;
        }
        Ok(())
    }

    fn open_dir(&self, at: &[u8]) -> io::Result<ReadDir> {
        std::fs::read_dir(path(at))
    }

    fn next(&self, dir: &mut ReadDir) -> io::Result<Option<(Vec<u8>, FileAttrs)>> {
        for entry in dir {
            let entry = entry?;
            // A name that is gone meanwhile is none.
            let Ok(metadata) = entry.metadata() else { continue };
            return Ok(Some((entry.file_name().into_vec(), attrs(&metadata))));
        }
        Ok(None)
    }

    fn remove_file(&self, at: &[u8]) -> io::Result<()> {
        std::fs::remove_file(path(at))
    }

    fn make_dir(&self, at: &[u8], mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode & 0o777 & !UMASK).create(path(at))
    }

    fn remove_dir(&self, at: &[u8]) -> io::Result<()> {
        std::fs::remove_dir(path(at))
    }

    fn rename(&self, from: &[u8], to: &[u8], replace: bool) -> io::Result<()> {
        let (from, to) = (path(from), path(to));
        if replace {
            return std::fs::rename(from, to);
        }
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can tell in the same breath.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match std::fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => std::fs::rename(from, to),
            },
            done => Ok(done?),
        }
    }

    fn resolve(&self, at: &[u8]) -> io::Result<Vec<u8>> {
        let at = path(at);
        match (std::fs::canonicalize(at), at.parent(), at.file_name()) {
            (Ok(whole), ..) => Ok(bytes(whole)),
            (Err(error), Some(above), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::canonicalize(above).map(|above| bytes(above.join(name)))
            }
            (Err(error), ..) => Err(error),
        }
    }

    fn read_link(&self, at: &[u8]) -> io::Result<Vec<u8>> {
        std::fs::read_link(path(at)).map(bytes)
    }

    fn symlink(&self, at: &[u8], target: &[u8]) -> io::Result<()> {
        symlink(path(target), path(at))
    }

    fn hard_link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        std::fs::hard_link(path(from), path(to))
    }
}
