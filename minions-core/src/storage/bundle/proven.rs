//! Whether what a monitor is started with is what was taken in.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::digest::digest;
use crate::host::files;
use crate::types::{BootFiles, FileDigest, ImageInfo, ImageManifest};

/// What a file was when it was read: device, number, length, and when it was written and changed. Whoever changes a byte
/// of it changes this.
type Seen = (u64, u64, u64, (i64, i64), (i64, i64));

fn seen(file: &File) -> io::Result<Seen> {
    Ok(seen_of(&file.metadata()?))
}

fn seen_of(meta: &Metadata) -> Seen {
    let (written, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    (meta.dev(), meta.ino(), meta.len(), written, changed)
}

/// Digests of kernels and initrds, each with what its file was then: a file is read once in a process, and again when it
/// has changed.
#[derive(Debug, Default)]
pub(in crate::storage) struct Proven(Mutex<HashMap<PathBuf, (Seen, FileDigest)>>);

impl Proven {
    /// What of these files is not as the manifest says: for people, with what to do.
    pub(super) fn damage(&self, manifest: &ImageManifest, boot: &BootFiles) -> Option<String> {
        let files = [("kernel", &boot.kernel, &manifest.kernel), ("initrd", &boot.initrd, &manifest.initrd)];
        files.into_iter().find_map(|(what, path, want)| {
            let path = path.as_path();
            match self.digest(path) {
                Ok(have) if have == *want => None,
                Ok(have) => Some(format!(
                    "the {what} {} is not what was taken in: its SHA-256 is {}, and was {}",
                    path.display(),
                    have.sha256,
                    want.sha256
                )),
                Err(error) => Some(format!("the {what} {} cannot be read: {error}", path.display())),
            }
        })
    }

    /// Forgets what is of none of these images, once that is much.
    pub(super) fn keep(&self, images: &[ImageInfo]) {
        let mut known = self.lock();
        if known.len() > 4 * images.len() + 16 {
            known.retain(|path, _| images.iter().any(|it| [&it.boot.kernel, &it.boot.initrd].contains(&path)));
        }
    }

    /// Held while a file is read: whoever wants to know the same waits for it.
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, (Seen, FileDigest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn digest(&self, path: &Path) -> io::Result<FileDigest> {
        let mut known = self.lock();
        let mut file = files::open_read(path)?;
        let before = seen(&file)?;
        if let Some((_, digest)) = known.get(path).filter(|(then, _)| *then == before) {
            return Ok(digest.clone());
        }
        let digest = digest(&mut file)?;
        // One that changes while it is read is read again by the next one who asks.
        if seen(&file)? == before {
            known.insert(path.to_owned(), (before, digest.clone()));
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn ctl_10_1_a_file_is_read_once_and_again_only_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel");
        std::fs::write(&path, b"kernel").unwrap();
        let known = Proven::default();
        assert_eq!(known.digest(&path).unwrap(), FileDigest::of(b"kernel"));
        // What is remembered is what is told: nothing was read.
        known.lock().get_mut(&path).unwrap().1 = FileDigest::of(b"remembered");
        assert_eq!(known.digest(&path).unwrap(), FileDigest::of(b"remembered"));
        // Of the same length, and made to look as old as before.
        let file = File::options().write(true).open(&path).unwrap();
        let before = file.metadata().unwrap();
        // Until the clock that files have goes on.
        let looks_old = |_: &u32| seen(&file).unwrap() == seen_of(&before);
        let changes = (0..1_000_000).take_while(looks_old).map(|_| {
            file.write_all_at(b"KERNEL", 0).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        });
        assert!(changes.count() < 1_000_000, "it looks as if nothing had changed");
        assert_eq!(known.digest(&path).unwrap(), FileDigest::of(b"KERNEL"));
        // Another one in its place.
        let other = dir.path().join("other");
        std::fs::write(&other, b"kernel").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(known.digest(&path).unwrap(), FileDigest::of(b"kernel"));
        std::fs::remove_file(&path).unwrap();
        assert!(known.digest(&path).is_err());
    }
}
