//! Images of a simulated host: values instead of files.

use std::path::PathBuf;

use hmac_sha256::Hash;

use super::KERNEL_RELEASE;
use super::blob::Blob;
use super::model::{bundle_path, image_path};
use super::tree::{Entry, Tree};
use crate::types::{BootFiles, ByteSize, ImageBundle, ImageDefaults, ImageId, ImageInfo, UnixMillis, Vcpus};

/// A file that a bundle names.
#[derive(Clone, Debug)]
pub(super) enum HostFile {
    /// A root filesystem.
    Root { size: ByteSize, tree: Tree },
    /// A kernel or an initrd.
    Plain(Vec<u8>),
}

impl HostFile {
    fn digest(&self) -> [u8; 32] {
        match self {
            Self::Root { size, tree } => {
                let mut hash = Hash::new();
                hash.update(size.get().to_be_bytes());
                tree.feed(&mut hash);
                hash.finalize()
            }
            Self::Plain(bytes) => Hash::hash(bytes),
        }
    }
}

/// An image that was taken in.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub info: ImageInfo,
    pub tree: Tree,
}

/// Everything an image is made of.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub name: String,
    pub root: HostFile,
    pub kernel: HostFile,
    pub initrd: HostFile,
    pub defaults: ImageDefaults,
}

impl Recipe {
    /// The address of the content: the SHA-256 over a manifest that names the SHA-256 of each file.
    pub fn id(&self) -> ImageId {
        let mut manifest = Hash::new();
        manifest.update(b"simulated image\0");
        manifest.update(self.name.as_bytes());
        for file in [&self.root, &self.kernel, &self.initrd] {
            manifest.update(file.digest());
        }
        let ImageDefaults { vcpus, memory, root, cmdline } = &self.defaults;
        manifest.update(format!("{vcpus:?} {memory:?} {root:?} {cmdline}").as_bytes());
        ImageId::from_digest(manifest.finalize())
    }

    pub fn bundle(&self) -> ImageBundle {
        let id = self.id();
        ImageBundle {
            id,
            name: self.name.clone(),
            root: bundle_path(id, "root"),
            boot: BootFiles { kernel: bundle_path(id, "kernel"), initrd: bundle_path(id, "initrd") },
            defaults: self.defaults.clone(),
        }
    }

    /// The files that its bundle names.
    pub fn files(&self) -> [(PathBuf, HostFile); 3] {
        let bundle = self.bundle();
        [
            (bundle.root, self.root.clone()),
            (bundle.boot.kernel, self.kernel.clone()),
            (bundle.boot.initrd, self.initrd.clone()),
        ]
    }

    /// What a storage makes of it.
    pub fn image(&self, created: UnixMillis) -> Image {
        let id = self.id();
        let (root_size, tree) = match &self.root {
            HostFile::Root { size, tree } => (*size, tree.clone()),
            HostFile::Plain(bytes) => (ByteSize::bytes(bytes.len() as u64), Tree::default()),
        };
        let info = ImageInfo {
            id,
            name: self.name.clone(),
            root_size,
            boot: BootFiles { kernel: image_path(id, "kernel"), initrd: image_path(id, "initrd") },
            defaults: self.defaults.clone(),
            created,
            damage: None,
        };
        Image { info, tree }
    }
}

/// A small image with files of the given text.
pub(super) fn recipe(name: &str, size: ByteSize, files: &[(&str, &str)]) -> Recipe {
    let mut tree = Tree::skeleton();
    for (path, text) in files {
        tree.put(path, Entry::file(Blob::from_bytes(text.as_bytes()), UnixMillis(0)));
    }
    Recipe {
        name: name.to_owned(),
        root: HostFile::Root { size, tree },
        kernel: HostFile::Plain(format!("kernel {KERNEL_RELEASE}").into_bytes()),
        initrd: HostFile::Plain(b"initrd of a simulated host".to_vec()),
        defaults: ImageDefaults {
            vcpus: Some(Vcpus(1)),
            memory: Some(ByteSize::mib(128)),
            root: Some(ByteSize::mib(256)),
            cmdline: String::new(),
        },
    }
}

/// The image that every simulated host begins with.
pub(super) fn demo() -> Recipe {
    recipe(
        "demo",
        ByteSize::mib(64),
        &[
            ("/etc/os-release", "ID=demo\nNAME=\"minions demo\"\nPRETTY_NAME=\"minions demo (simulated)\"\n"),
            ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            ("/etc/motd", "This guest is simulated: nothing here runs on a processor of its own.\n"),
        ],
    )
}
