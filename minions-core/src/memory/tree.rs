//! The files of a simulated disk.

use std::collections::BTreeMap;
use std::ops::Bound;

use hmac_sha256::Hash;

use super::blob::Blob;
use crate::error::{Error, ErrorKind, Result};
use crate::types::UnixMillis;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(Blob),
    Link(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub node: Node,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: UnixMillis,
}

impl Entry {
    pub fn dir(mtime: UnixMillis) -> Self {
        Self { node: Node::Dir, mode: 0o755, uid: 0, gid: 0, mtime }
    }

    pub fn file(blob: Blob, mtime: UnixMillis) -> Self {
        Self { node: Node::File(blob), mode: 0o644, uid: 0, gid: 0, mtime }
    }

    pub fn len(&self) -> u64 {
        match &self.node {
            Node::Dir => 4096,
            Node::File(blob) => blob.len(),
            Node::Link(target) => target.len() as u64,
        }
    }
}

/// Files by normal absolute path; the root itself is implied, and spelled "".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
    bytes: u64,
}

pub(super) fn absent(path: &str) -> Error {
    Error::not_found(format!("{path}: no such file or directory"))
}

pub(super) fn not_a_directory(path: &str) -> Error {
    Error::invalid("path", format!("{path}: not a directory")).with_reason("not_a_directory")
}

pub(super) fn is_a_directory(path: &str) -> Error {
    Error::invalid("path", format!("{path}: is a directory")).with_reason("is_a_directory")
}

/// The directory that holds a path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Tree {
    /// The folders that every root has.
    pub fn skeleton() -> Self {
        let mut tree = Self::default();
        for dir in ["/bin", "/data", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var"]
        {
            tree.put(dir, Entry::dir(UnixMillis(0)));
        }
        tree
    }

    /// Bytes that all files hold together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.entries.get(path).is_some_and(|entry| entry.node == Node::Dir)
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// For changes that keep the length.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Entry> {
        self.entries.get_mut(path)
    }

    /// Puts an entry without asking what it replaces.
    pub fn put(&mut self, path: &str, entry: Entry) {
        self.bytes += entry.len();
        if let Some(old) = self.entries.insert(path.to_owned(), entry) {
            self.bytes -= old.len();
        }
    }

    /// Puts an entry where its directory is and no directory of another kind is in the way.
    pub fn place(&mut self, path: &str, entry: Entry) -> Result<()> {
        if path.is_empty() {
            return Err(is_a_directory("/"));
        }
        let above = parent(path);
        if !self.is_dir(above) {
            return Err(if self.entries.contains_key(above) { not_a_directory(above) } else { absent(above) });
        }
        if self.is_dir(path) != (entry.node == Node::Dir) && self.entries.contains_key(path) {
            return Err(if entry.node == Node::Dir { not_a_directory(path) } else { is_a_directory(path) });
        }
        self.put(path, entry);
        Ok(())
    }

    /// Adds bytes to a file.
    pub fn append(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let entry = self.entries.get_mut(path).ok_or_else(|| absent(path))?;
        let Node::File(blob) = &mut entry.node else { return Err(is_a_directory(path)) };
        blob.append(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes a directory and those above it.
    pub fn make_dirs(&mut self, path: &str, now: UnixMillis) -> Result<()> {
        if self.is_dir(path) {
            return Ok(());
        }
        self.make_dirs(parent(path), now)?;
        self.place(path, Entry::dir(now))
    }

    /// Removes a file, or an empty directory.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        if self.below(path).next().is_some() {
            return Err(Error::new(ErrorKind::Conflict, format!("{path}: directory not empty")));
        }
        let old = self.entries.remove(path).ok_or_else(|| absent(path))?;
        self.bytes -= old.len();
        Ok(())
    }

    /// Everything below a directory, in order, with its full path.
    pub fn below(&self, path: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let prefix = format!("{path}/");
        self.entries
            .range::<str, _>((Bound::Excluded(prefix.as_str()), Bound::Unbounded))
            .take_while(move |(other, _)| other.starts_with(&prefix))
            .map(|(other, entry)| (other.as_str(), entry))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// What is right in a directory: names, not paths.
    pub fn children(&self, path: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let skip = path.len() + 1;
        self.below(path)
            .filter_map(move |(other, entry)| Some((other.get(skip..)?, entry)))
            .filter(|(name, _)| !name.contains('/'))
    }

    /// Everything that tells two trees apart.
    pub fn feed(&self, hash: &mut Hash) {
        for (path, entry) in &self.entries {
            hash.update((path.len() as u64).to_be_bytes());
            hash.update(path.as_bytes());
            for number in [entry.mode, entry.uid, entry.gid] {
                hash.update(number.to_be_bytes());
            }
            match &entry.node {
                Node::Dir => hash.update(b"d"),
                Node::File(blob) => {
                    hash.update(b"f");
                    blob.feed(hash);
                }
                Node::Link(target) => {
                    hash.update(b"l");
                    hash.update((target.len() as u64).to_be_bytes());
                    hash.update(target.as_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_through_every_change() {
        let mut tree = Tree::default();
        let empty = tree.bytes();
        tree.put("/a", Entry::file(Blob::from_bytes(b"12345"), UnixMillis(0)));
        tree.append("/a", b"678").unwrap();
        assert_eq!(tree.bytes(), empty + 8);
        tree.put("/a", Entry::file(Blob::from_bytes(b"1"), UnixMillis(0)));
        assert_eq!(tree.bytes(), empty + 1);
        tree.remove("/a").unwrap();
        assert_eq!(tree.bytes(), empty);
    }

    #[test]
    fn children_are_only_what_is_right_in_a_directory() {
        let mut tree = Tree::default();
        for dir in ["/a/b/c", "/a/d", "/ab"] {
            tree.make_dirs(dir, UnixMillis(0)).unwrap();
        }
        let names: Vec<_> = tree.children("/a").map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["b", "d"]);
        assert!(tree.remove("/a").is_err(), "it is not empty");
    }
}
