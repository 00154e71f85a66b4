//! The kernels that images are made with: Debian's, fetched when it is wanted, and those that somebody brought.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ImageError;
use super::kernel::{KernelFiles, fetch_kernel};
use super::kernel_check::{KernelInfo, check_kernel};
use super::modules::{Modules, NEEDED, WANTED};
use super::tools::{ImageTools, needed};
use crate::error::{Error, Result};
use crate::host::command::Tool;
use crate::host::{blocking, files};
use crate::types::check_tag;

/// Debian 12's kernel for clouds: what images are made with unless something else is said.
pub const DEBIAN_CLOUD: &str = "debian-cloud";

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KernelSource {
    /// Debian's package, fetched with apt.
    Debian,
    /// Brought by somebody.
    Imported,
}

/// A kernel that is known.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KernelEntry {
    /// Its name, for `--kernel`.
    pub name: String,
    /// Where it comes from.
    pub source: KernelSource,
    /// The version of its modules; `None` where it has not been fetched yet.
    pub version: Option<String>,
    /// What it says of itself; `None` where it has not been fetched yet.
    pub info: Option<KernelInfo>,
}

/// The kernels in one folder.
#[derive(Clone, Debug)]
pub struct Kernels {
    dir: PathBuf,
}

impl Kernels {
    /// Those in this folder; it need not be there.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Where Debian's is kept.
    #[must_use]
    pub fn debian_cache(&self) -> PathBuf {
        self.dir.join(DEBIAN_CLOUD)
    }

    fn folder(&self, name: &str) -> PathBuf {
        if name == DEBIAN_CLOUD { self.debian_cache().join("package") } else { self.dir.join(name) }
    }

    fn files(&self, name: &str) -> Option<KernelFiles> {
        KernelFiles::in_package(&self.folder(name))
    }

    async fn entry(&self, name: &str) -> Result<KernelEntry> {
        let source = if name == DEBIAN_CLOUD { KernelSource::Debian } else { KernelSource::Imported };
        let files = self.files(name);
        let info = match &files {
            Some(files) => Some(check_kernel(&files.kernel).await?),
            None => None,
        };
        let version = files.and_then(|files| Some(files.modules.file_name()?.to_str()?.to_owned()));
        Ok(KernelEntry { name: name.to_owned(), source, version, info })
    }

    /// All that are known, Debian's first.
    pub async fn list(&self) -> Result<Vec<KernelEntry>> {
        let names = match files::names(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(ImageError::io("list", &self.dir))?,
        };
        let mut found = vec![self.entry(DEBIAN_CLOUD).await?];
        for name in names.iter().filter(|name| *name != DEBIAN_CLOUD && self.files(name).is_some()) {
            found.push(self.entry(name).await?);
        }
        Ok(found)
    }

    /// The files of one, fetched where it is Debian's and not here yet.
    ///
    /// # Errors
    /// `NotFound` where none has the name.
    pub async fn find(&self, name: &str, tools: &ImageTools) -> Result<KernelFiles> {
        if name == DEBIAN_CLOUD {
            return fetch_kernel(&self.debian_cache(), tools).await;
        }
        let found = check_tag(name).ok().and_then(|()| self.files(name));
        found.ok_or_else(|| {
            Error::not_found(format!(
                "there is no kernel {name}; see minions kernel list, or bring it: minions kernel import"
            ))
            .with_field("kernel")
        })
    }

    /// Takes one in under a name: checked, copied, and the modules that a guest needs are among its modules.
    ///
    /// # Errors
    /// `InvalidArgument` where no monitor could start it, where its modules are another kernel's or lack what leads to the
    /// disks; `AlreadyExists` where the name is taken.
    pub async fn import(&self, name: &str, kernel: &Path, modules: &Path, tools: &ImageTools) -> Result<KernelEntry> {
        check_tag(name)?;
        let target = self.dir.join(name);
        if name == DEBIAN_CLOUD || target.exists() {
            let message = format!("there is a kernel {name} already; choose another name, or delete it first");
            return Err(Error::new(crate::error::ErrorKind::AlreadyExists, message).with_field("name"));
        }
        let info = check_kernel(kernel).await?;
        let of = modules.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if info.version.as_ref().is_some_and(|version| *version != of) || of.is_empty() {
            let version = info.version.as_deref().unwrap_or("of a version that it does not tell");
            let message = format!(
                "the kernel is {version}, but the modules are those of {of:?}; give lib/modules/VERSION of the same"
            );
            return Err(Error::invalid("modules", message));
        }
        let folder = modules.to_owned();
        blocking(move || {
            Modules::open(&folder)?.in_order(&NEEDED, &WANTED)?;
            Ok(())
        })
        .await?;
        let cp = needed(tools.cp.as_ref(), "cp", "apt-get install coreutils")?;
        // Whole or not at all: nobody looks into a name with a dot at its beginning.
        let fresh = self.dir.join(format!(".{name}"));
        let (boot, under) = (fresh.join("boot"), fresh.join("lib/modules"));
        let io = ImageError::io("make", &fresh);
        files::dir_absent(&fresh).map_err(&io)?;
        for dir in [&boot, &under] {
            files::make_dir(dir).map_err(&io)?;
        }
        // Links in it are no modules, and could lead anywhere.
        let words = ["-R", "--no-dereference", "--preserve=mode,timestamps", "--reflink=auto", "--"];
        for (from, to) in [(kernel, boot.join(format!("vmlinuz-{of}"))), (modules, under.join(&of))] {
            let tool = Tool::new(cp).args(words).arg(from).arg(to).limit(Duration::from_mins(10));
            tool.run().await.map_err(ImageError::from)?;
        }
        std::fs::rename(&fresh, &target).map_err(ImageError::io("rename", &fresh))?;
        self.entry(name).await
    }

    /// Deletes one. Images that were made with it have their own copy.
    ///
    /// # Errors
    /// `NotFound` where there is none of this name.
    pub async fn delete(&self, name: &str) -> Result<()> {
        check_tag(name)?;
        let folder = if name == DEBIAN_CLOUD { self.debian_cache() } else { self.dir.join(name) };
        if self.files(name).is_none() {
            return Err(Error::not_found(format!("there is no kernel {name} here; see minions kernel list")));
        }
        blocking(move || Ok(files::dir_absent(&folder).map_err(ImageError::io("remove", &folder))?)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::image::kernel_check::tests::{vmlinux, vmlinuz};
    use crate::image::modules::tests::module;

    /// A kernel and modules of this version.
    fn bring(dir: &Path, kernel: &[u8], version: &str) -> (PathBuf, PathBuf) {
        let (file, modules) = (dir.join("kernel"), dir.join(version));
        std::fs::create_dir_all(modules.join("kernel")).unwrap();
        std::fs::write(&file, kernel).unwrap();
        std::fs::write(modules.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        for name in NEEDED {
            std::fs::write(modules.join(format!("kernel/{name}.ko")), module("")).unwrap();
        }
        (file, modules)
    }

    #[tokio::test]
    async fn a_kernel_is_taken_in_whole_found_by_its_name_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let (kernels, tools) = (Kernels::at(&folder.path().join("kernels")), ImageTools::find());
        assert_eq!(kernels.list().await.unwrap().len(), 1, "Debian's is known, here or not");
        let (kernel, modules) = bring(folder.path(), &vmlinuz(), "6.1.0-1");
        let entry = kernels.import("mine", &kernel, &modules, &tools).await.unwrap();
        assert_eq!((entry.version.as_deref(), entry.source), (Some("6.1.0-1"), KernelSource::Imported));
        let again = kernels.import("mine", &kernel, &modules, &tools).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        std::fs::remove_file(kernel).unwrap();
        std::fs::remove_dir_all(modules).unwrap();
        let files = kernels.find("mine", &tools).await.unwrap();
        assert!(files.kernel.is_file() && files.modules.join("modules.builtin").is_file());
        assert_eq!(kernels.list().await.unwrap()[1], entry);
        kernels.delete("mine").await.unwrap();
        assert_eq!(kernels.find("mine", &tools).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(kernels.delete("mine").await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn bad_22_a_kernel_that_would_only_fail_in_each_guest_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (kernels, tools) = (Kernels::at(&folder.path().join("kernels")), ImageTools::find());
        let (kernel, modules) = bring(folder.path(), &vmlinuz(), "6.1.0-1");
        let other = bring(folder.path(), &vmlinuz(), "6.2.0").1;
        for name in ["", "..", "../x", "a/b", "-x", ".hidden", DEBIAN_CLOUD] {
            let error = kernels.import(name, &kernel, &modules, &tools).await.unwrap_err();
            assert_eq!(error.field(), Some("name"), "{name:?}");
            assert!(kernels.delete(name).await.is_err());
        }
        let field = async |kernel: &Path, modules: &Path| {
            let error = kernels.import("x", kernel, modules, &tools).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", error.chain());
            error.field().unwrap().to_owned()
        };
        assert_eq!(field(&kernel, &other).await, "modules");
        std::fs::remove_file(modules.join("kernel/virtio_blk.ko")).unwrap();
        assert_eq!(field(&kernel, &modules).await, "kernel");
        for bytes in [&b"#!/bin/sh"[..], &[], &vmlinux()[..700]] {
            std::fs::write(&kernel, bytes).unwrap();
            assert_eq!(field(&kernel, &modules).await, "kernel");
        }
        assert!(!folder.path().join("kernels/x").exists());
    }
}
