//! Files that are taken in from outside: read once, and never trusted.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::BundleError;
use crate::host::files;
use crate::types::FileDigest;

/// Formats that are not raw bytes, by how they begin.
const NOT_RAW: [(&[u8], &str); 5] = [
    (b"QFI\xfb", "a qcow2 image"),
    (b"KDMV", "a VMDK image"),
    (b"COWD", "a VMDK image"),
    (b"vhdxfile", "a VHDX image"),
    (b"conectix", "a VHD image"),
];

/// Most bytes that a file taken in may measure: far more than any, and far less than would hang us for days.
const MAX_SOURCE: u64 = 1 << 40;

/// A file of an image that is to be taken in.
#[derive(Debug)]
pub(in crate::storage) struct Source {
    what: &'static str,
    raw: bool,
    file: File,
    before: Metadata,
}

impl Source {
    /// Opens one. `what` is its name for people, and `raw` says that it must be no container format.
    pub fn open(what: &'static str, path: &Path, raw: bool) -> Result<Self, BundleError> {
        let refuse = |text: String| BundleError::Source { field: what, what: text };
        let file = files::open_read(path).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => refuse("is a symbolic link; give the file itself".to_owned()),
            Some(libc::ENXIO) => refuse("is a socket, not a file".to_owned()),
            _ => refuse(format!("cannot be read: {error}")),
        })?;
        let before = file.metadata().map_err(BundleError::io("take a file in"))?;
        if !before.is_file() {
            return Err(refuse("is not a regular file".to_owned()));
        }
        if before.len() == 0 {
            return Err(refuse("is empty".to_owned()));
        }
        if before.len() > MAX_SOURCE {
            return Err(refuse(format!("measures {} bytes, more than any image", before.len())));
        }
        Ok(Self { what, raw, file, before })
    }

    /// Its bytes.
    #[cfg(feature = "lvm")]
    pub fn size(&self) -> u64 {
        self.before.len()
    }

    /// What of it is not a hole: about as much as a copy without zeros takes.
    #[cfg(feature = "lvm")]
    pub fn allocated(&self) -> u64 {
        self.before.blocks().saturating_mul(512).min(self.before.len())
    }

    fn refuse(&self, what: String) -> BundleError {
        BundleError::Source { field: self.what, what }
    }

    /// Reads it once into a target that is all zeros, in which zeros are left out. Tells what it holds.
    pub fn copy_to(self, target: &mut File) -> Result<FileDigest, BundleError> {
        self.copy_with(target, |_, _| Ok(()))
    }

    /// The same; `taken` is called with the bytes so far, and may end it.
    pub fn copy_with<E: From<BundleError>>(
        mut self,
        target: &mut File,
        mut taken: impl FnMut(&mut File, u64) -> Result<(), E>,
    ) -> Result<FileDigest, E> {
        let io = BundleError::io("take a file in");
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut size = 0u64;
        loop {
            let count = match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.refuse(format!("cannot be read: {error}")).into()),
            };
            let bytes = &buffer[..count];
            if size == 0
                && self.raw
                && let Some((_, name)) = NOT_RAW.iter().find(|(magic, _)| bytes.starts_with(magic))
            {
                let what = format!("is {name}, not raw; convert it first: qemu-img convert -O raw");
                return Err(self.refuse(what).into());
            }
            size += u64::try_from(count).unwrap_or(0);
            if size > self.before.len() {
                break;
            }
            hash.update(bytes);
            write_sparse(target, bytes).map_err(&io)?;
            taken(target, size)?;
        }
        let after = self.file.metadata().map_err(&io)?;
        let same = |meta: &Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        if size != self.before.len() || same(&self.before) != same(&after) {
            return Err(self.refuse("changed while it was copied; try again when nobody writes it".to_owned()).into());
        }
        Ok(FileDigest::new(&hash.finalize(), size))
    }
}

/// Leaves blocks of zeros out.
fn write_sparse(target: &mut File, bytes: &[u8]) -> io::Result<()> {
    for block in bytes.chunks(4096) {
        if block.iter().all(|&byte| byte == 0) {
            target.seek(SeekFrom::Current(i64::try_from(block.len()).unwrap_or(0)))?;
        } else {
            target.write_all(block)?;
        }
    }
    Ok(())
}
