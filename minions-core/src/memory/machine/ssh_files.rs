//! A simulated guest's files, for SFTP and scp. What is open is known by its path: a file that is renamed is lost to it.

use std::io;
use std::sync::Arc;

use super::Machine;
use super::fs::Disks;
use super::session::{Reader, Writer};
use crate::api::guest::{FileAttrs, FileInfo, FileKind, GuestFiles, OpenHow, ScpRequest, serve_scp, serve_sftp};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::blob::Blob;
use crate::memory::tree::{Entry, Node, is_a_directory, not_a_directory};
use crate::types::UnixMillis;

const UMASK: u32 = 0o022;

pub(super) async fn sftp(machine: &Machine, reader: &mut Reader, writer: &mut Writer) -> Result<()> {
    serve_sftp(Arc::new(Files(machine.clone())), reader, writer).await
}

pub(super) async fn scp(
    machine: &Machine,
    request: ScpRequest,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<()> {
    request.check()?;
    serve_scp(Arc::new(Files(machine.clone())), request, reader, writer).await
}

struct Files(Machine);

impl Files {
    fn disks<T>(&self, work: impl FnOnce(&mut Disks<'_>) -> Result<T>) -> io::Result<T> {
        self.0.disks(work).map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::NotFound => io::ErrorKind::NotFound,
                ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
                ErrorKind::Denied => io::ErrorKind::PermissionDenied,
                ErrorKind::Exhausted => io::ErrorKind::StorageFull,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error.to_string())
        })
    }
}

/// Names of a simulated guest are text.
fn text(path: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(path).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path that is no text"))
}

fn attrs(info: &FileInfo) -> FileAttrs {
    let kind = match info.kind {
        FileKind::File => 0o100_000,
        FileKind::Directory => 0o040_000,
        FileKind::Symlink => 0o120_000,
        FileKind::Other => 0,
    };
    let modified = u32::try_from(info.modified.0 / 1_000).unwrap_or(u32::MAX);
    FileAttrs {
        size: Some(info.size),
        owner: Some((info.uid, info.gid)),
        mode: Some(kind | info.mode),
        times: Some((modified, modified)),
    }
}

fn set(disks: &mut Disks<'_>, path: &str, to: &FileAttrs, follow: bool) -> Result<()> {
    disks.change(path, follow, |entry| {
        if let Some(size) = to.size {
            let Node::File(blob) = &mut entry.node else { return Err(is_a_directory(path)) };
            blob.set_len(size);
        }
        if let Some((user, group)) = to.owner {
            (entry.uid, entry.gid) = (user, group);
        }
        if let Some(mode) = to.mode {
            entry.mode = mode & 0o7777;
        }
        if let Some((_, written)) = to.times {
            entry.mtime = UnixMillis(u64::from(written) * 1_000);
        }
        Ok(())
    })
}

fn exists(path: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{path}: file exists"))
}

impl GuestFiles for Files {
    type File = String;
    type Dir = std::vec::IntoIter<(Vec<u8>, FileAttrs)>;

    fn home(&self) -> Vec<u8> {
        b"/root".to_vec()
    }

    fn open(&self, path: &[u8], how: &OpenHow) -> io::Result<String> {
        let path = text(path)?;
        self.disks(|disks| {
            match disks.info(path, true) {
                Ok(_) if how.create && how.exclusive => return Err(exists(path)),
                Ok(info) if info.kind == FileKind::Directory => return Err(is_a_directory(path)),
                Ok(_) if how.truncate => {
                    set(disks, path, &FileAttrs { size: Some(0), ..FileAttrs::default() }, true)?;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && how.create => {
                    let mut entry = Entry::file(Blob::default(), disks.now());
                    entry.mode = how.mode & 0o777 & !UMASK;
                    disks.put(path, entry, false)?;
                }
                Err(error) => return Err(error),
            }
            disks.real(path)
        })
    }

    fn read(&self, file: &String, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let blob = self.disks(|disks| disks.content(file))?;
        let mut read = 0;
        while read < into.len() {
            let piece = blob.read(offset.saturating_add(read as u64), into.len() - read);
            if piece.is_empty() {
                break;
            }
            into[read..read + piece.len()].copy_from_slice(&piece);
            read += piece.len();
        }
        Ok(read)
    }

    fn write(&self, file: &String, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disks(|disks| disks.write(file, offset, bytes))
    }

    fn sync(&self, file: &String) -> io::Result<()> {
        self.disks(|disks| disks.info(file, true).map(drop))
    }

    fn file_attrs(&self, file: &String) -> io::Result<FileAttrs> {
        self.disks(|disks| disks.info(file, true).map(|info| attrs(&info)))
    }

    fn set_file_attrs(&self, file: &String, to: &FileAttrs) -> io::Result<()> {
        self.disks(|disks| set(disks, file, to, true))
    }

    fn attrs(&self, path: &[u8], follow: bool) -> io::Result<FileAttrs> {
        let path = text(path)?;
        self.disks(|disks| disks.info(path, follow).map(|info| attrs(&info)))
    }

    fn set_attrs(&self, path: &[u8], to: &FileAttrs, follow: bool) -> io::Result<()> {
        let path = text(path)?;
        self.disks(|disks| set(disks, path, to, follow))
    }

    fn open_dir(&self, path: &[u8]) -> io::Result<Self::Dir> {
        let path = text(path)?;
        let listed = self.disks(|disks| disks.list(path))?;
        let names: Vec<_> = listed.into_iter().map(|entry| (entry.name.into_bytes(), attrs(&entry.info))).collect();
        Ok(names.into_iter())
    }

    fn next(&self, dir: &mut Self::Dir) -> io::Result<Option<(Vec<u8>, FileAttrs)>> {
        Ok(dir.next())
    }

    fn remove_file(&self, path: &[u8]) -> io::Result<()> {
        let path = text(path)?;
        self.disks(|disks| match disks.info(path, false)?.kind {
            FileKind::Directory => Err(is_a_directory(path)),
            _ => disks.remove(path),
        })
    }

    fn make_dir(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let path = text(path)?;
        self.disks(|disks| {
            if disks.info(path, false).is_ok() {
                return Err(exists(path));
            }
            let mut entry = Entry::dir(disks.now());
            entry.mode = mode & 0o777 & !UMASK;
            disks.put(path, entry, false)
        })
    }

    fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        let path = text(path)?;
        self.disks(|disks| match disks.info(path, false)?.kind {
            FileKind::Directory => disks.remove(path),
            _ => Err(not_a_directory(path)),
        })
    }

    fn rename(&self, from: &[u8], to: &[u8], replace: bool) -> io::Result<()> {
        let (from, to) = (text(from)?, text(to)?);
        self.disks(|disks| disks.rename(from, to, replace))
    }

    fn resolve(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let path = text(path)?;
        self.disks(|disks| disks.real(path)).map(String::into_bytes)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let path = text(path)?;
        let target = self.disks(|disks| disks.info(path, false))?.target;
        let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a symbolic link"))?;
        Ok(target.into_bytes())
    }

    fn symlink(&self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (path, target) = (text(path)?, text(target)?.to_owned());
        self.disks(|disks| {
            if disks.info(path, false).is_ok() {
                return Err(exists(path));
            }
            let mode = 0o777;
            let entry = Entry { node: Node::Link(target), mode, uid: 0, gid: 0, mtime: disks.now() };
            disks.put(path, entry, false)
        })
    }

    fn hard_link(&self, _: &[u8], _: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a simulated disk has no hard links"))
    }
}
