//! The file system as a simulated guest sees it: the root disk at `/`, the data disk at `/data`.

mod change;

use super::Machine;
use super::info::disk_status;
use crate::api::guest::{DiskStatus, FileEntry, FileInfo, FileKind, FsTarget};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::blob::Blob;
use crate::memory::model::{Model, Volume};
use crate::memory::tree::{Entry, Node, Tree, absent, is_a_directory, not_a_directory, parent};
use crate::types::{DiskRole, UnixMillis, VolumeId};

/// Most symbolic links in one path.
const MAX_LINKS: usize = 16;

/// The mounted disks of one guest, for as long as the host is looked at.
pub(super) struct Disks<'a> {
    model: &'a mut Model,
    root: VolumeId,
    data: Option<VolumeId>,
    now: UnixMillis,
}

impl Machine {
    pub(super) fn disks<T>(&self, work: impl FnOnce(&mut Disks<'_>) -> Result<T>) -> Result<T> {
        self.with(|model| {
            let open = model.monitors.get(&self.id).map(|monitor| monitor.open.clone()).unwrap_or_default();
            let find = |role| open.iter().copied().find(|id: &VolumeId| id.role == role);
            let root = find(DiskRole::Root).ok_or_else(|| io_error("the guest has no root disk"))?;
            let data = find(DiskRole::Data);
            let now = model.clock.wall();
            work(&mut Disks { model, root, data, now })
        })
    }
}

fn io_error(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

/// Joins a path to a directory and takes out `.` and `..`. The root is "".
pub(super) fn normal(cwd: &str, path: &str) -> String {
    let start = if path.starts_with('/') { "" } else { cwd };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().fold(String::new(), |path, part| path + "/" + part)
}

fn info(entry: &Entry) -> FileInfo {
    let (kind, target) = match &entry.node {
        Node::Dir => (FileKind::Directory, None),
        Node::File(_) => (FileKind::File, None),
        Node::Link(target) => (FileKind::Symlink, Some(target.clone())),
    };
    FileInfo {
        kind,
        size: entry.len(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        modified: entry.mtime,
        target,
    }
}

impl Disks<'_> {
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// The disk that holds a path, and the path on it.
    fn split<'p>(&self, path: &'p str) -> (VolumeId, &'p str) {
        match (self.data, path.strip_prefix("/data")) {
            (Some(data), Some(rest)) if rest.is_empty() || rest.starts_with('/') => (data, rest),
            _ => (self.root, path),
        }
    }

    fn volume(&self, id: VolumeId) -> Result<&Volume> {
        self.model.volumes.get(&id).ok_or_else(|| io_error("input/output error: the disk is gone"))
    }

    fn tree(&mut self, id: VolumeId) -> Result<&mut Tree> {
        let volume = self.model.volumes.get_mut(&id);
        volume.map(|volume| &mut volume.tree).ok_or_else(|| io_error("input/output error: the disk is gone"))
    }

    /// Follows the symbolic links of a path; the last one only where asked.
    fn resolve(&self, path: &str, follow: bool) -> Result<String> {
        let mut links = 0;
        let mut todo = normal("", path);
        'again: loop {
            let ends: Vec<usize> = todo.match_indices('/').map(|(at, _)| at).skip(1).chain([todo.len()]).collect();
            for end in ends {
                if end == todo.len() && !follow {
                    break;
                }
                let (id, inner) = self.split(&todo[..end]);
                if let Some(Entry { node: Node::Link(target), .. }) = self.volume(id)?.tree.get(inner) {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::invalid("path", format!("{path}: too many symbolic links")));
                    }
                    let linked = normal(parent(&todo[..end]), target);
                    todo = normal("", &format!("{linked}{}", &todo[end..]));
                    continue 'again;
                }
            }
            return Ok(todo);
        }
    }

    fn entry(&self, path: &str, follow: bool) -> Result<Entry> {
        let path = self.resolve(path, follow)?;
        let (id, inner) = self.split(&path);
        let tree = &self.volume(id)?.tree;
        match tree.get(inner) {
            Some(entry) => Ok(entry.clone()),
            None if inner.is_empty() => Ok(Entry::dir(UnixMillis(0))),
            None => Err(absent(&path)),
        }
    }

    pub fn info(&self, path: &str, follow: bool) -> Result<FileInfo> {
        absolute(path)?;
        self.entry(path, follow).map(|entry| info(&entry))
    }

    /// A file's content, which costs nothing to hold.
    pub fn content(&self, path: &str) -> Result<Blob> {
        match self.entry(path, true)?.node {
            Node::File(blob) => Ok(blob),
            Node::Dir | Node::Link(_) => Err(is_a_directory(path)),
        }
    }

    pub fn list(&self, path: &str) -> Result<Vec<FileEntry>> {
        let path = self.resolve(path, true)?;
        let (id, inner) = self.split(&path);
        let tree = &self.volume(id)?.tree;
        if !tree.is_dir(inner) {
            return Err(if tree.get(inner).is_some() { not_a_directory(&path) } else { absent(&path) });
        }
        Ok(tree.children(inner).map(|(name, entry)| FileEntry { name: name.to_owned(), info: info(entry) }).collect())
    }

    /// Everything below a directory with its path relative to it, in order.
    pub fn walk(&self, path: &str) -> Result<Vec<(String, Entry)>> {
        let path = self.resolve(path, true)?;
        let (id, inner) = self.split(&path);
        let mut all: Vec<_> =
            self.volume(id)?.tree.below(inner).map(|(p, e)| (p[inner.len() + 1..].to_owned(), e.clone())).collect();
        if let Some(data) = self.data.filter(|_| path.is_empty()) {
            let below = self.volume(data)?.tree.below("").map(|(p, e)| (format!("data{p}"), e.clone()));
            all.extend(below);
        }
        Ok(all)
    }

    fn room(&self, id: VolumeId, more: u64) -> Result<()> {
        let volume = self.volume(id)?;
        if volume.tree.bytes().saturating_add(more) > volume.size.get() {
            return Err(Error::new(ErrorKind::Exhausted, "no space left on device").with_reason("no_space"));
        }
        Ok(())
    }

    /// Puts an entry; a symbolic link in its place is replaced, not followed.
    pub fn put(&mut self, path: &str, entry: Entry, parents: bool) -> Result<()> {
        let path = self.resolve(path, false)?;
        let above = self.resolve(parent(&path), true)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let path = format!("{above}/{name}");
        let (id, inner) = self.split(&path);
        let inner = inner.to_owned();
        let old = self.volume(id)?.tree.get(&inner).map_or(0, Entry::len);
        self.room(id, entry.len().saturating_sub(old))?;
        let now = self.now;
        let tree = self.tree(id)?;
        if parents {
            tree.make_dirs(parent(&inner), now)?;
        }
        tree.place(&inner, entry)
    }

    pub fn append(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.resolve(path, true)?;
        let (id, inner) = self.split(&path);
        self.room(id, bytes.len() as u64)?;
        let now = self.now;
        let tree = self.tree(id)?;
        tree.append(inner, bytes)?;
        if let Some(entry) = tree.get_mut(inner) {
            entry.mtime = now;
        }
        Ok(())
    }

    pub fn make_dirs(&mut self, path: &str) -> Result<()> {
        let path = self.resolve(path, true)?;
        let (id, inner) = self.split(&path);
        let now = self.now;
        self.tree(id)?.make_dirs(inner, now)
    }

    /// Removes a file or an empty directory.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        let path = self.resolve(path, false)?;
        let (id, inner) = self.split(&path);
        if inner.is_empty() {
            return Err(Error::new(ErrorKind::Conflict, format!("{path}/: device or resource busy")));
        }
        self.tree(id)?.remove(inner)
    }

    pub fn usage(&self, role: DiskRole) -> Option<DiskStatus> {
        let id = match role {
            DiskRole::Root => self.root,
            DiskRole::Data => self.data?,
        };
        let volume = self.volume(id).ok()?;
        Some(disk_status(role, volume.size.get(), volume.tree.bytes()))
    }

    /// The size of a file system, which is always that of its disk here.
    pub fn grown(&self, target: FsTarget) -> Result<u64> {
        let id = match target {
            FsTarget::Root => self.root,
            FsTarget::Data => self.data.ok_or_else(|| Error::not_found("the guest has no data disk"))?,
        };
        Ok(self.volume(id)?.size.get())
    }
}

/// Refuses a path that does not say where it begins.
pub(super) fn absolute(path: &str) -> Result<()> {
    match path.starts_with('/') && !path.contains('\0') {
        true => Ok(()),
        false => Err(Error::invalid("path", "a path in a guest is absolute, and has no zero byte")),
    }
}
