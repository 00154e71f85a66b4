//! Names files by their content.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::ImageError;
use crate::error::Result;
use crate::host::{blocking, files};
use crate::types::{BootFiles, FileDigest, ImageBundle, ImageDefaults, ImageManifest};

/// Most bytes that a file may measure: as much as a storage takes in, and far less than would keep us for days.
const MAX_SOURCE: u64 = 1 << 40;

/// Opens what may become part of an image: a regular file, neither empty nor larger than any.
pub(super) fn source(what: &'static str, path: &Path) -> Result<File, ImageError> {
    let io = ImageError::io("read", path);
    let refuse = |why: &'static str| ImageError::Source { what, path: path.to_owned(), why };
    let file = files::open_read(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => refuse("is a symbolic link; give the file itself"),
        _ => io(error),
    })?;
    // A device or a pipe might never end.
    let meta = file.metadata().map_err(&io)?;
    if !meta.is_file() {
        return Err(refuse("is not a regular file"));
    }
    if meta.len() == 0 || meta.len() > MAX_SOURCE {
        return Err(refuse(if meta.len() == 0 { "is empty" } else { "measures more than any image" }));
    }
    Ok(file)
}

fn digest(what: &'static str, path: &Path) -> Result<FileDigest, ImageError> {
    let mut file = source(what, path)?;
    crate::host::digest::digest(&mut file).map_err(ImageError::io("read", path))
}

/// The bundle of three files, ready for a storage: reads all of them once.
pub async fn bundle(name: &str, root: PathBuf, boot: BootFiles, defaults: ImageDefaults) -> Result<ImageBundle> {
    let name = name.to_owned();
    blocking(move || {
        let manifest = ImageManifest {
            name,
            root: digest("root", &root)?,
            kernel: digest("kernel", &boot.kernel)?,
            initrd: digest("initrd", &boot.initrd)?,
            defaults,
        };
        Ok(ImageBundle { id: manifest.id(), name: manifest.name, root, boot, defaults: manifest.defaults })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn bad_22_what_would_never_end_or_is_no_file_is_refused_before_it_is_read() {
        let dir = std::env::temp_dir().join(format!("minions-bundle-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (pipe, link, huge, empty) = (dir.join("pipe"), dir.join("link"), dir.join("huge"), dir.join("empty"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::write(&empty, b"").unwrap();
        std::os::unix::fs::symlink(&empty, &link).unwrap();
        std::fs::File::create(&huge).unwrap().set_len(100 << 40).unwrap_or_default();
        let mut cases = vec![(Path::new("/dev/zero"), "regular"), (Path::new("/dev"), "regular")];
        cases.extend([(pipe.as_path(), "regular"), (&link, "symbolic link"), (&empty, "empty")]);
        // Not every filesystem lends a hole of 100 TiB.
        if std::fs::metadata(&huge).unwrap().len() > 0 {
            cases.push((&huge, "more than any image"));
        }
        for (path, word) in cases {
            let error = crate::Error::from(digest("root", path).expect_err(word));
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("root")), "{}", error.chain());
            assert!(error.to_string().contains(word), "{}", error.chain());
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
