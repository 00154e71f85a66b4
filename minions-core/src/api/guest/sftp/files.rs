//! What a session does its work with.

use std::io;

const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Attributes of a file, as far as they are known or are to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileAttrs {
    /// Bytes.
    pub size: Option<u64>,
    /// User and group.
    pub owner: Option<(u32, u32)>,
    /// Permission bits, and above them what kind of file it is.
    pub mode: Option<u32>,
    /// When it was read and when it was written last, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

impl FileAttrs {
    fn is(&self, kind: u32) -> bool {
        self.mode.is_some_and(|mode| mode & KIND == kind)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.is(DIRECTORY)
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.is(REGULAR)
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.is(SYMLINK)
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of open(2)")]
pub struct OpenHow {
    /// It is read.
    pub read: bool,
    /// It is written.
    pub write: bool,
    /// Whatever is written goes to its end.
    pub append: bool,
    /// It is made where there is none.
    pub create: bool,
    /// What it held is dropped.
    pub truncate: bool,
    /// There must be none yet.
    pub exclusive: bool,
    /// Permission bits of one that is made.
    pub mode: u32,
}

/// The files of a guest. Calls may block; none of them is made on a thread of the runtime. Paths are absolute, and hold no
/// zero byte.
pub trait GuestFiles: Send + Sync + 'static {
    /// An open regular file.
    type File: Send + Sync + 'static;
    /// A directory that is being read.
    type Dir: Send + 'static;

    /// Where paths begin that do not say it.
    fn home(&self) -> Vec<u8>;
    /// Opens a regular file, and nothing else.
    fn open(&self, path: &[u8], how: &OpenHow) -> io::Result<Self::File>;
    /// Reads from an offset on; 0 at the end of the file.
    fn read(&self, file: &Self::File, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all of it from an offset on.
    fn write(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// What was written survives a loss of power.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// What an open file is.
    fn file_attrs(&self, file: &Self::File) -> io::Result<FileAttrs>;
    /// Changes what is said.
    fn set_file_attrs(&self, file: &Self::File, attrs: &FileAttrs) -> io::Result<()>;
    /// What a path is; a symbolic link at its end is followed where asked.
    fn attrs(&self, path: &[u8], follow: bool) -> io::Result<FileAttrs>;
    /// Changes what is said.
    fn set_attrs(&self, path: &[u8], attrs: &FileAttrs, follow: bool) -> io::Result<()>;
    /// Begins to read a directory.
    fn open_dir(&self, path: &[u8]) -> io::Result<Self::Dir>;
    /// The next name, in no order and without `.` and `..`.
    fn next(&self, dir: &mut Self::Dir) -> io::Result<Option<(Vec<u8>, FileAttrs)>>;
    /// Removes what is no directory.
    fn remove_file(&self, path: &[u8]) -> io::Result<()>;
    /// Makes a directory.
    fn make_dir(&self, path: &[u8], mode: u32) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &[u8]) -> io::Result<()>;
    /// Gives another name, over what has it where asked.
    fn rename(&self, from: &[u8], to: &[u8], replace: bool) -> io::Result<()>;
    /// The path without symbolic links, `.` and `..`; its last part may be missing.
    fn resolve(&self, path: &[u8]) -> io::Result<Vec<u8>>;
    /// Where a symbolic link points.
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>>;
    /// Makes a symbolic link at a path.
    fn symlink(&self, path: &[u8], target: &[u8]) -> io::Result<()>;
    /// A second name for a file.
    fn hard_link(&self, from: &[u8], to: &[u8]) -> io::Result<()>;
}

/// A name in a directory.
pub(crate) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path as a client writes it: one that does not begin at the root begins at home.
pub(crate) fn absolute(home: &[u8], path: &[u8]) -> io::Result<Vec<u8>> {
    if path.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path holds no zero byte"));
    }
    Ok(match path.first() {
        Some(b'/') => path.to_vec(),
        Some(_) => joined(home, path),
        None => home.to_vec(),
    })
}

/// The last part of a path.
pub(crate) fn name_of(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let path = &path[..end];
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}
