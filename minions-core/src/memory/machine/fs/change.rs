//! Changes of single files that SFTP knows.

use super::{Disks, parent};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::tree::{Entry, Node, absent, is_a_directory, not_a_directory};

impl Disks<'_> {
    /// The path without links, `.` and `..`; its last part may be missing.
    pub fn real(&self, path: &str) -> Result<String> {
        let path = self.resolve(path, true)?;
        let above = self.entry(parent(&path), true)?;
        match above.node {
            Node::Dir if path.is_empty() => Ok("/".to_owned()),
            Node::Dir => Ok(path),
            Node::File(_) | Node::Link(_) => Err(not_a_directory(&path)),
        }
    }

    /// Changes an entry in its place.
    pub fn change(&mut self, path: &str, follow: bool, change: impl FnOnce(&mut Entry) -> Result<()>) -> Result<()> {
        let path = self.resolve(path, follow)?;
        let (id, inner) = self.split(&path);
        let inner = inner.to_owned();
        if inner.is_empty() {
            // The root of a disk is implied: it is as it is.
            return Ok(());
        }
        let mut entry = self.volume(id)?.tree.get(&inner).cloned().ok_or_else(|| absent(&path))?;
        let before = entry.len();
        change(&mut entry)?;
        self.room(id, entry.len().saturating_sub(before))?;
        self.tree(id)?.put(&inner, entry);
        Ok(())
    }

    /// Writes bytes into a file.
    pub fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        // What nearly every write is costs nearly nothing.
        if self.info(path, true)?.size == offset {
            return self.append(path, bytes);
        }
        let now = self.now;
        self.change(path, true, |entry| {
            let Node::File(blob) = &mut entry.node else { return Err(is_a_directory(path)) };
            blob.write(offset, bytes);
            entry.mtime = now;
            Ok(())
        })
    }

    /// Gives another name, over what has it where asked.
    pub fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<()> {
        let (from, to) = (self.resolve(from, false)?, self.resolve(to, false)?);
        let to = format!("{}/{}", self.resolve(parent(&to), true)?, to.rsplit('/').next().unwrap_or_default());
        let ((disk, old), (other, new)) = (self.split(&from), self.split(&to));
        let (old, new) = (old.to_owned(), new.to_owned());
        let conflict = |message: &str| Error::new(ErrorKind::Conflict, format!("{to}: {message}"));
        if disk != other || old.is_empty() || new.is_empty() {
            return Err(conflict("invalid cross-device link"));
        }
        let entry = self.entry(&from, false)?;
        if old == new {
            return Ok(());
        }
        if format!("{new}/").starts_with(&format!("{old}/")) {
            return Err(conflict("it would be within itself"));
        }
        if let Ok(there) = self.entry(&to, false) {
            if !replace {
                return Err(Error::new(ErrorKind::AlreadyExists, format!("{to}: file exists")));
            }
            if (there.node == Node::Dir) != (entry.node == Node::Dir) {
                return Err(conflict("one is a directory, the other is none"));
            }
            self.tree(disk)?.remove(&new)?;
        }
        let tree = self.tree(disk)?;
        let below: Vec<(String, Entry)> =
            tree.below(&old).map(|(path, entry)| (path[old.len()..].to_owned(), entry.clone())).collect();
        tree.place(&new, entry)?;
        for (rest, entry) in &below {
            tree.put(&format!("{new}{rest}"), entry.clone());
        }
        for (rest, _) in below.iter().rev() {
            tree.remove(&format!("{old}{rest}"))?;
        }
        tree.remove(&old)
    }
}
