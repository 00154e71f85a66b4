//! The ways to an image.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::bake;
use super::bundle::{self, bundle};
use super::debian::{self, DebianConfig};
use super::error::ImageError;
use super::initrd::write_initrd;
use super::kernel::fetch_kernel;
use super::kernel_check::check_kernel;
use super::rootfs::{self, Times};
use super::{BakeConfig, BuildConfig, ImportConfig, OnProgress, Progress};
use crate::error::Result;
use crate::host::files;
use crate::types::{BootFiles, ImageBundle};

/// Counts the steps of one build.
struct Steps<'a> {
    on: OnProgress<'a>,
    number: u32,
    of: u32,
}

impl Steps<'_> {
    fn begin(&mut self, step: &'static str) {
        self.number += 1;
        (self.on)(Progress { step, number: self.number, of: self.of });
    }
}

/// A tiny image: a static busybox and nothing else. It has no init, so the agent stays the guest's first process.
pub async fn build_busybox(config: &BuildConfig, on_progress: OnProgress<'_>) -> Result<ImageBundle> {
    let mut steps = Steps { on: on_progress, number: 0, of: 4 };
    prepare(config)?;
    steps.begin("make the root filesystem");
    let tree = config.work_dir.join("tree");
    rootfs::busybox(&tree, &config.tools).await?;
    let root = filesystem(config, &tree, Times::Settled).await?;
    finish(config, root, &mut steps).await
}

/// Debian 12 with systemd, small, and good to live in. Needs root and Debian's mirror.
///
/// The same packages become the same bytes where the time of the newest file is said, or follows from a snapshot: no file is newer,
/// what a build leaves behind is removed, and the file system's own times and names are settled. The order of names in a folder is
/// that of the file system which the build works on: two machines may differ in it.
pub async fn build_debian(
    config: &BuildConfig,
    which: &DebianConfig,
    on_progress: OnProgress<'_>,
) -> Result<ImageBundle> {
    let mut steps = Steps { on: on_progress, number: 0, of: 5 };
    which.check()?;
    prepare(config)?;
    steps.begin("install Debian into a folder");
    let tree = config.work_dir.join("tree");
    debian::install(&tree, which, &config.tools, config.mirror.as_deref()).await?;
    steps.begin("make the root filesystem");
    let root = filesystem(config, &tree, which.newest().map_or(Times::Kept, Times::Clamped)).await?;
    finish(config, root, &mut steps).await
}

/// An image from a raw filesystem that exists; with our kernel and initrd any Linux in it boots.
pub async fn import(config: &ImportConfig, on_progress: OnProgress<'_>) -> Result<ImageBundle> {
    let mut steps = Steps { on: on_progress, number: 0, of: 3 };
    // Before a kernel is fetched for it.
    let root = config.root.clone();
    crate::host::blocking(move || {
        bundle::source("root", &root)?;
        Ok(is_ext4(&root)?)
    })
    .await?;
    prepare(&config.build)?;
    finish(&config.build, config.root.clone(), &mut steps).await
}

/// An image that boots with a kernel, an initrd and an init of its own, with our agent as a service in it. Needs root.
pub async fn bake_agent(config: &BakeConfig, on_progress: OnProgress<'_>) -> Result<ImageBundle> {
    let mut steps = Steps { on: on_progress, number: 0, of: 4 };
    let build = &config.build;
    prepare(build)?;
    steps.begin("copy what is in it");
    let tree = build.work_dir.join("tree");
    bake::copy(&config.source, &tree, &build.tools).await?;
    steps.begin("put the agent in");
    let (path, agent, work) = (tree.clone(), build.agent.clone(), build.work_dir.clone());
    let boot = crate::host::blocking(move || Ok(bake::bake(&path, &agent, &work)?)).await?;
    check_kernel(&boot.kernel).await?;
    steps.begin("make the root filesystem");
    let root = filesystem(build, &tree, Times::Kept).await?;
    steps.begin("name it by its content");
    let mut defaults = build.defaults.clone();
    defaults.cmdline = [bake::CMDLINE, &defaults.cmdline].join(" ").trim_end().to_owned();
    bundle(&build.name, root, BootFiles { kernel: boot.kernel, initrd: boot.initrd }, defaults).await
}

/// Guests mount their root as an ext4: anything else would only fail in each of them.
fn is_ext4(file: &Path) -> Result<(), ImageError> {
    /// Where the superblock has its magic number.
    const MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xef]);
    let io = ImageError::io("read", file);
    let opened = files::open_read(file).map_err(&io)?;
    if !opened.metadata().map_err(&io)?.is_file() {
        return Err(ImageError::NotExt4(file.to_owned()));
    }
    let mut found = [0; 2];
    match opened.read_exact_at(&mut found, MAGIC.0) {
        Ok(()) if found == MAGIC.1 => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(io(error)),
        _ => Err(ImageError::NotExt4(file.to_owned())),
    }
}

fn prepare(config: &BuildConfig) -> Result<(), ImageError> {
    for dir in [&config.work_dir, &config.kernel_cache] {
        files::make_dir(dir).map_err(ImageError::io("make", dir))?;
    }
    Ok(())
}

/// Writes a folder as a filesystem, and removes the folder.
async fn filesystem(config: &BuildConfig, tree: &Path, times: Times) -> Result<PathBuf> {
    let root = config.work_dir.join("root.raw");
    rootfs::write(tree, &root, config.root_size, times, &config.tools).await?;
    let tree = tree.to_owned();
    crate::host::blocking(move || {
        files::dir_absent(&tree).map_err(ImageError::io("remove", &tree))?;
        Ok(root)
    })
    .await
}

async fn finish(config: &BuildConfig, root: PathBuf, steps: &mut Steps<'_>) -> Result<ImageBundle> {
    steps.begin("fetch the kernel");
    let kernel = match &config.kernel {
        Some(kernel) => {
            check_kernel(&kernel.kernel).await?;
            kernel.clone()
        }
        None => fetch_kernel(&config.kernel_cache, &config.tools).await?,
    };
    steps.begin("make the initrd");
    let initrd = config.work_dir.join("initrd");
    write_initrd(&config.agent, &kernel.modules, &initrd).await?;
    steps.begin("name it by its content");
    bundle(&config.name, root, BootFiles { kernel: kernel.kernel, initrd }, config.defaults.clone()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_22_what_is_no_ext4_is_refused_before_it_becomes_an_image() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        assert!(matches!(is_ext4(&path), Err(ImageError::Io { .. })));
        assert!(matches!(is_ext4(folder.path()), Err(ImageError::NotExt4(_))));
        let mut ext4 = vec![0; 4096];
        ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
        for (bytes, good) in [(vec![], false), (b"QFI\xfb".repeat(1000), false), (vec![0; 4096], false), (ext4, true)] {
            std::fs::write(&path, bytes).unwrap();
            let looked = is_ext4(&path);
            assert!(looked.is_ok() == good && (good || matches!(looked, Err(ImageError::NotExt4(_)))), "{looked:?}");
        }
    }
}
