//! The same bytes from the same folder: what a filesystem says beside its content must not depend on when it was made.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use sha2::{Digest, Sha256};

use super::error::ImageError;
use super::tools::{ImageTools, needed};
use crate::host::command::{CommandError, Tool};
use crate::host::files;

/// When everything in an image was made, in seconds of the epoch; 0 would mean now to mke2fs.
const MADE: i64 = 1;

/// The first inode of an ext4 that is not the filesystem's own.
const FIRST_INODE: usize = 12;

/// A tool of e2fsprogs that takes this time for now: the older ones by the first word, the newer ones by the second.
pub(super) fn timeless(tool: Tool) -> Tool {
    tool.env("E2FSPROGS_FAKE_TIME", MADE.to_string()).env("SOURCE_DATE_EPOCH", MADE.to_string())
}

/// What is below a folder, in the order of their paths.
fn below(tree: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut left) = (Vec::new(), vec![tree.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if std::fs::symlink_metadata(&path)?.is_dir() {
                left.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A UUID that is the same for folders with the same in them, and for no others.
pub(super) fn uuid(tree: &Path) -> Result<String, ImageError> {
    let io = ImageError::io("read", tree);
    let mut hash = Sha256::new();
    for path in below(tree).map_err(&io)? {
        let meta = std::fs::symlink_metadata(&path).map_err(&io)?;
        let name = path.strip_prefix(tree).unwrap_or(&path).as_os_str().as_bytes();
        hash.update(name);
        hash.update([0]);
        hash.update(meta.mode().to_le_bytes());
        if meta.is_symlink() {
            hash.update(std::fs::read_link(&path).map_err(&io)?.as_os_str().as_bytes());
        } else if meta.is_file() {
            hash.update(meta.len().to_le_bytes());
            let mut file = files::open_read(&path).map_err(&io)?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                match file.read(&mut buffer).map_err(&io)? {
                    0 => break,
                    count => hash.update(&buffer[..count]),
                }
            }
        }
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut text = String::new();
    for (index, byte) in digest.iter().take(16).enumerate() {
        // Version 8, of a kind that its maker explains; variant 1.
        let byte = match index {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{dash}{byte:02x}");
    }
    Ok(text)
}

/// Sets when everything in a folder was read last, and when it was changed where that is newer than this many seconds of the
/// epoch. How many inodes it takes.
pub(super) fn settle_tree(tree: &Path, newest: u64) -> Result<usize, ImageError> {
    let io = ImageError::io("set the times of", tree);
    let newest = i64::try_from(newest).unwrap_or(i64::MAX).max(MADE);
    let at = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
    let mut inodes = BTreeSet::new();
    for path in below(tree).map_err(&io)? {
        let meta = std::fs::symlink_metadata(&path).map_err(&io)?;
        let times = Timestamps { last_access: at(newest), last_modification: at(meta.mtime().min(newest)) };
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| io(error.into()))?;
        inodes.insert(meta.ino());
    }
    // The folder itself becomes the root.
    let times = Timestamps { last_access: at(newest), last_modification: at(newest) };
    utimensat(CWD, tree, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| io(error.into()))?;
    Ok(inodes.len())
}

/// Sets when the inodes of a fresh filesystem were changed: nobody can set that of a file on the host.
pub(super) async fn settle_filesystem(file: &Path, inodes: usize, tools: &ImageTools) -> Result<(), ImageError> {
    let program = needed(tools.debugfs.as_ref(), "debugfs", "apt-get install e2fsprogs")?;
    let mut script = String::new();
    for inode in FIRST_INODE..FIRST_INODE + inodes {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "set_inode_field <{inode}> ctime @{MADE}");
    }
    let tool = timeless(Tool::new(program)).arg("-w").args(["-f", "-", "--"]).arg(file);
    let said = tool.run_with(script.as_bytes()).await?.stderr;
    // It tells its version, and then each command that it could not do; it never fails.
    let said = String::from_utf8_lossy(&said);
    match said.lines().find(|line| !line.is_empty() && !line.starts_with("debugfs ")) {
        None => Ok(()),
        Some(line) => {
            Err(CommandError::Garbage { program: program.to_owned(), answer: line.chars().take(200).collect() }.into())
        }
    }
}
