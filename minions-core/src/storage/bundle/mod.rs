//! What storages share: an image's files beside its root, files that come from outside, folders that are made whole.

mod error;
mod proven;
mod source;
pub(super) mod stage;
mod turns;

use std::path::Path;

pub(super) use error::BundleError;
pub(super) use proven::Proven;
pub(super) use source::Source;
pub(super) use turns::Turns;

use crate::host::files;
use crate::types::{BootFiles, FileDigest, ImageBundle, ImageId, ImageInfo, ImageManifest, UnixMillis};

const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";
const MANIFEST: &str = "manifest.json";

/// What lies beside an image's files.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    manifest: ImageManifest,
    created: UnixMillis,
}

/// Takes a file in as a file that nobody writes, durably.
pub(super) fn take_in(source: Source, to: &Path) -> Result<FileDigest, BundleError> {
    take_in_for(source, to, 0o400)
}

fn take_in_for(source: Source, to: &Path, mode: u32) -> Result<FileDigest, BundleError> {
    let io = BundleError::io("take a file in");
    let mut target = files::open_write(to, mode).map_err(&io)?;
    let digest = source.copy_to(&mut target)?;
    target.set_len(digest.size.get()).map_err(&io)?;
    target.sync_all().map_err(&io)?;
    Ok(digest)
}

/// Takes everything of an image into a folder, except its root, of which only the digest is given; and checks that it
/// is what its id says.
pub(super) fn fill(dir: &Path, bundle: &ImageBundle, root: FileDigest, now: UnixMillis) -> Result<(), BundleError> {
    let manifest = ImageManifest {
        name: bundle.name.clone(),
        root,
        // It is no secret, and its folder is closed: monitors read it as users of their own.
        kernel: take_in_for(Source::open("kernel", &bundle.boot.kernel, false)?, &dir.join(KERNEL), 0o444)?,
        initrd: take_in(Source::open("initrd", &bundle.boot.initrd, false)?, &dir.join(INITRD))?,
        defaults: bundle.defaults.clone(),
    };
    let have = manifest.id();
    if have != bundle.id {
        return Err(BundleError::Digest { want: bundle.id, have });
    }
    let stored = Stored { manifest, created: now };
    let text = serde_json::to_vec(&stored).map_err(|_| BundleError::Broken(bundle.id.to_string()))?;
    files::replace(&dir.join(MANIFEST), &text, 0o400).map_err(BundleError::io("write a manifest"))
}

/// What the folder of an image says, whatever has become of its files; `None` where it is not there.
pub(super) fn info(images: &Path, id: ImageId) -> Result<Option<ImageInfo>, BundleError> {
    Ok(read(images, id)?.map(|(image, _)| image))
}

/// The same, and whether its files are still what was taken in.
pub(super) fn proven(images: &Path, id: ImageId, proven: &Proven) -> Result<Option<ImageInfo>, BundleError> {
    Ok(read(images, id)?.map(|(mut image, manifest)| {
        image.damage = proven.damage(&manifest, &image.boot);
        image
    }))
}

fn read(images: &Path, id: ImageId) -> Result<Option<(ImageInfo, ImageManifest)>, BundleError> {
    let dir = images.join(id.to_string());
    let text = match std::fs::read(dir.join(MANIFEST)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(BundleError::io("read a manifest"))?,
    };
    let stored: Stored = serde_json::from_slice(&text).map_err(|_| BundleError::Broken(id.to_string()))?;
    if stored.manifest.id() != id {
        return Err(BundleError::Broken(id.to_string()));
    }
    let image = ImageInfo {
        id,
        name: stored.manifest.name.clone(),
        root_size: stored.manifest.root.size,
        boot: BootFiles { kernel: dir.join(KERNEL), initrd: dir.join(INITRD) },
        defaults: stored.manifest.defaults.clone(),
        created: stored.created,
        damage: None,
    };
    Ok(Some((image, stored.manifest)))
}

/// Every image that has a folder.
pub(super) fn list(images: &Path, known: &Proven) -> Result<Vec<ImageInfo>, BundleError> {
    let mut found = Vec::new();
    for name in files::names(images).map_err(BundleError::io("list the images"))? {
        let Ok(id) = name.parse() else { continue };
        if let Some(image) = proven(images, id, known)? {
            found.push(image);
        }
    }
    known.keep(&found);
    Ok(found)
}
