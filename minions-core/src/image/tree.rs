//! A folder that becomes a root file system. What is in it was made by others: a link in it leads where it would lead in the
//! guest, never to the host's own files.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, fchown, fstat, mkdirat, openat,
    openat2, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::error::ImageError;

/// Such a folder. Names have no slash at their beginning.
#[derive(Debug)]
pub(super) struct Tree {
    path: PathBuf,
    root: OwnedFd,
}

/// What a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Dir,
    Link(PathBuf),
    Other,
}

/// The folder and the last part of a name.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or((".", name))
}

impl Tree {
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root =
            openat(CWD, path, flags, Mode::empty()).map_err(|error| ImageError::io("open", path)(error.into()))?;
        Ok(Self { path: path.to_owned(), root })
    }

    fn at(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        openat2(&self.root, name, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    fn folder(&self, name: &str) -> Result<OwnedFd, Errno> {
        self.at(name, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn error(&self, what: &'static str, name: &str) -> impl Fn(Errno) -> ImageError {
        let path = self.path.join(name);
        move |error| ImageError::io(what, &path)(error.into())
    }

    /// Opens a regular file, links followed inside of the tree; `None` where there is none.
    pub fn file(&self, name: &str) -> Result<Option<File>, ImageError> {
        let failed = self.error("open", name);
        let opened = match self.at(name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
            opened => opened.map_err(&failed)?,
        };
        let stat = fstat(&opened).map_err(&failed)?;
        Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| File::from(opened)))
    }

    /// The text of a small file; `None` where there is none.
    pub fn text(&self, name: &str) -> Result<Option<String>, ImageError> {
        const MOST: u64 = 1 << 20;
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes).map_err(ImageError::io("read", &self.path.join(name)))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// What a name is, not following a link at its end; `None` where it is nothing.
    pub fn kind(&self, name: &str) -> Result<Option<Kind>, ImageError> {
        let failed = self.error("look at", name);
        let (dir, last) = split(name);
        let dir = match self.folder(dir) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            dir => dir.map_err(&failed)?,
        };
        let stat = match statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.map_err(&failed)?,
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => {
                let target = readlinkat(&dir, last, Vec::new()).map_err(&failed)?;
                Kind::Link(PathBuf::from(std::ffi::OsString::from(String::from_utf8_lossy(target.as_bytes()).as_ref())))
            }
            _ => Kind::Other,
        }))
    }

    /// The names in a folder, in their order; none where there is no folder.
    pub fn names(&self, name: &str) -> Result<Vec<String>, ImageError> {
        let failed = self.error("list", name);
        let dir = match self.folder(name) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            dir => dir.map_err(&failed)?,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes a folder and its parents; one that is there is left as it is.
    pub fn dir(&self, name: &str, mode: u32) -> Result<(), ImageError> {
        let failed = self.error("make", name);
        let (mut parent, mut done) = (self.folder(".").map_err(&failed)?, String::new());
        for part in name.split('/') {
            done.push_str(if done.is_empty() { "" } else { "/" });
            done.push_str(part);
            if let Ok(dir) = self.folder(&done) {
                parent = dir;
                continue;
            }
            let wanted = Mode::from_raw_mode(if done == name { mode } else { 0o755 });
            mkdirat(&parent, part, wanted).map_err(&failed)?;
            parent = self.folder(&done).map_err(&failed)?;
            fchmod(&parent, wanted).map_err(&failed)?;
        }
        Ok(())
    }

    /// Writes a file in the place of whatever has its name; its folder is there.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<(), ImageError> {
        self.put_for(name, bytes, mode, 0, 0)
    }

    /// The same, for another owner than root.
    pub fn put_for(
        &self,
        name: &str,
        bytes: impl AsRef<[u8]>,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> Result<(), ImageError> {
        self.absent(name)?;
        let failed = self.error("write", name);
        let (dir, last) = split(name);
        let dir = self.folder(dir).map_err(&failed)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&dir, last, flags, Mode::from_raw_mode(0o600)).map_err(&failed)?);
        file.write_all(bytes.as_ref()).map_err(ImageError::io("write", &self.path.join(name)))?;
        if (uid, gid) != (0, 0) {
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(&failed)?;
        }
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(&failed)
    }

    /// Gives something to another owner; a link itself, not what it leads to.
    pub fn give(&self, name: &str, uid: u32, gid: u32) -> Result<(), ImageError> {
        let failed = self.error("give away", name);
        let (dir, last) = split(name);
        let dir = self.folder(dir).map_err(&failed)?;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(&dir, last, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Makes a symbolic link in the place of whatever has its name; its folder is there.
    pub fn link(&self, name: &str, target: &str) -> Result<(), ImageError> {
        self.absent(name)?;
        let failed = self.error("link", name);
        let (dir, last) = split(name);
        let dir = self.folder(dir).map_err(&failed)?;
        symlinkat(target, &dir, last).map_err(failed)
    }

    /// Removes a file or a link; one that is not there is fine.
    pub fn absent(&self, name: &str) -> Result<(), ImageError> {
        let failed = self.error("remove", name);
        let (dir, last) = split(name);
        match self.folder(dir).and_then(|dir| unlinkat(dir, last, AtFlags::empty())) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            done => done.map_err(failed),
        }
    }

    /// Removes everything in a folder, and leaves the folder.
    pub fn emptied(&self, name: &str) -> Result<(), ImageError> {
        for entry in self.names(name)? {
            let path = format!("{name}/{entry}");
            if self.kind(&path)? == Some(Kind::Dir) {
                self.emptied(&path)?;
                let (dir, last) = split(&path);
                let failed = self.error("remove", &path);
                self.folder(dir).and_then(|dir| unlinkat(dir, last, AtFlags::REMOVEDIR)).map_err(failed)?;
            } else {
                self.absent(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn bad_22_links_in_a_tree_never_lead_to_the_hosts_files() {
        let folder = tempfile::tempdir().unwrap();
        let (host, root) = (folder.path().join("host"), folder.path().join("tree"));
        std::fs::create_dir_all(host.join("etc")).unwrap();
        std::fs::create_dir_all(root.join("inside")).unwrap();
        std::fs::write(host.join("etc/passwd"), "the host's").unwrap();
        symlink(host.join("etc"), root.join("etc")).unwrap();
        symlink("../../../../../../../../../../../../etc", root.join("up")).unwrap();
        symlink(host.join("etc/passwd"), root.join("shadow")).unwrap();
        symlink("/inside", root.join("abs")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let tree = Tree::open(&root).unwrap();
        assert!(tree.text("etc/passwd").unwrap().is_none() && tree.text("shadow").unwrap().is_none());
        assert!(tree.text("up/passwd").unwrap().is_none() && tree.text("loop").unwrap().is_none());
        tree.put("etc/passwd", "x", 0o644).unwrap_err();
        tree.put("up/passwd", "x", 0o644).unwrap_err();
        tree.dir("etc/systemd", 0o755).unwrap_err();
        // A link at the end is replaced, not followed.
        tree.put("shadow", "the image's", 0o640).unwrap();
        assert_eq!(tree.text("shadow").unwrap().unwrap(), "the image's");
        // One that stays inside is followed, as the guest would.
        tree.dir("abs/deep/er", 0o700).unwrap();
        tree.put("abs/deep/er/file", "in", 0o600).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("inside/deep/er/file")).unwrap(), "in");
        let mode = |name: &str| std::fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("inside/deep"), mode("inside/deep/er"), mode("shadow")), (0o755, 0o700, 0o640));
        tree.emptied("inside").unwrap();
        assert_eq!(tree.names("inside").unwrap(), Vec::<String>::new());
        assert_eq!(std::fs::read_to_string(host.join("etc/passwd")).unwrap(), "the host's");
        assert_eq!(std::fs::read_dir(host.join("etc")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_never_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        assert!(tree.file("pipe").unwrap().is_none() && tree.file(".").unwrap().is_none());
        assert_eq!(tree.kind("pipe").unwrap(), Some(Kind::Other));
        assert_eq!((tree.kind("none/at/all").unwrap(), tree.kind(".").unwrap()), (None, Some(Kind::Dir)));
    }
}
