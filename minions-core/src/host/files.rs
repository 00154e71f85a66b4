//! Files that are there whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// What tells one file from every other on the host, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        Ok(Self { dev: stat.st_dev, ino: stat.st_ino })
    }

    /// Of what a path leads to, symbolic links followed: only for paths in `/proc`.
    pub(crate) fn at_followed(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::stat(path)?;
        Ok(Self { dev: stat.st_dev, ino: stat.st_ino })
    }

    /// Of a name in a folder, symbolic links not followed.
    pub fn at(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::lstat(path)?;
        Ok(Self { dev: stat.st_dev, ino: stat.st_ino })
    }
}

fn open(path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    let fd: OwnedFd = openat(CWD, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode)?;
    Ok(File::from(fd))
}

/// Opens for reading; a symbolic link is an error, and a pipe does not block.
pub fn open_read(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())
}

/// How many bytes a file or a block device has, to which a symbolic link of the system's may lead.
pub fn size_of(path: &Path) -> io::Result<u64> {
    use std::io::Seek;
    File::open(path)?.seek(io::SeekFrom::End(0))
}

/// Opens for reading and writing, made with this mode if it is not there; a symbolic link is an error.
pub fn open_write(path: &Path, mode: u32) -> io::Result<File> {
    open(path, OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(mode))
}

/// Opens for reading and writing what is there; a symbolic link is an error.
pub fn open_write_existing(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDWR, Mode::empty())
}

/// Opens a folder, for locks and for [`sync_dir`].
pub fn open_dir(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Makes what happened to a folder's names durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    open_dir(path)?.sync_all()
}

/// Makes a folder and its parents, readable by its owner only; one that is there is left as it is.
pub fn make_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a small file, durably: a reader, and whoever comes after a crash, sees the old bytes or the new ones. Two
/// writers of one path must be kept apart by the caller.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    swap(path, bytes, mode, true)
}

/// Like [`replace`], for what means nothing after the host's next boot: whole, but not made durable.
pub fn replace_volatile(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    swap(path, bytes, mode, false)
}

fn swap(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let tmp = dir.join(hidden);
    absent(&tmp)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = open(&tmp, flags, Mode::from_raw_mode(mode))?;
    let sync = |file: &File| if durable { file.sync_all() } else { Ok(()) };
    let written = file.write_all(bytes).and_then(|()| sync(&file)).and_then(|()| std::fs::rename(&tmp, path));
    if let Err(error) = written {
        // The next call would clear it too.
        absent(&tmp)?;
        return Err(error);
    }
    if durable { sync_dir(dir) } else { Ok(()) }
}

/// Removes a file; one that is not there is fine.
pub fn absent(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder and all in it; one that is not there is fine. Never follows a symbolic link.
pub fn dir_absent(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes whatever a path is: a file, a link, or a folder and all in it. Never follows a symbolic link.
pub fn all_absent(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => dir_absent(path),
        Ok(_) => absent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Everything in a folder, whatever its name; nothing where there is no folder.
pub fn paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// The names in a folder that are text; none where there is no folder.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
