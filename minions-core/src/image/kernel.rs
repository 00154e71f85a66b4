//! Debian's kernel for clouds, from its package; nothing is installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ImageError;
use super::tools::{ImageTools, needed};
use crate::error::Result;
use crate::host::command::Tool;
use crate::host::files;

/// The package that depends on the newest one.
const META: &str = "linux-image-cloud-amd64";

const APT_FIX: &str = "build on Debian, or give a kernel and its modules";

/// A kernel and the folder `lib/modules/VERSION` that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFiles {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its modules.
    pub modules: PathBuf,
}

impl KernelFiles {
    /// Of an unpacked package.
    pub fn in_package(root: &Path) -> Option<Self> {
        let names = files::names(&root.join("boot")).ok()?;
        let version = names.iter().find_map(|name| name.strip_prefix("vmlinuz-"))?;
        let found = Self {
            kernel: root.join("boot").join(format!("vmlinuz-{version}")),
            modules: root.join("lib/modules").join(version),
        };
        found.modules.join("modules.builtin").is_file().then_some(found)
    }
}

/// The kernel, from the cache folder or from Debian. The exact package that the newest one's name leads to, and no
/// pattern: apt would fetch all that match.
pub async fn fetch_kernel(cache: &Path, tools: &ImageTools) -> Result<KernelFiles> {
    let package = cache.join("package");
    if let Some(kernel) = KernelFiles::in_package(&package) {
        return Ok(kernel);
    }
    let apt_cache = needed(tools.apt_cache.as_ref(), "apt-cache", APT_FIX)?;
    let apt_get = needed(tools.apt_get.as_ref(), "apt-get", APT_FIX)?;
    let dpkg = needed(tools.dpkg.as_ref(), "dpkg", APT_FIX)?;
    let shown = Tool::new(apt_cache).args(["show", "--no-all-versions", META]).run().await.map_err(ImageError::from)?;
    let name = exact(shown.text(apt_cache).map_err(ImageError::from)?)
        .ok_or_else(|| ImageError::NoPackage(META.to_owned()))?
        .to_owned();
    let download = cache.join("download");
    let (fresh, target) = (cache.join("unpacking"), package);
    for dir in [&download, &fresh] {
        files::dir_absent(dir).and_then(|()| files::make_dir(dir)).map_err(ImageError::io("make", dir))?;
    }
    let fetch = Tool::new(apt_get).args(["download", "-o", "APT::Sandbox::User=root"]).arg(&name).dir(&download);
    fetch.limit(Duration::from_mins(15)).run().await.map_err(ImageError::from)?;
    let names = files::names(&download).map_err(ImageError::io("list", &download))?;
    let deb = names.iter().find(|name| name.ends_with(".deb")).ok_or(ImageError::NoPackage(name))?;
    let unpack = Tool::new(dpkg).arg("-x").arg(download.join(deb)).arg(&fresh).limit(Duration::from_mins(10));
    unpack.run().await.map_err(ImageError::from)?;
    files::dir_absent(&target).map_err(ImageError::io("remove", &target))?;
    std::fs::rename(&fresh, &target).map_err(ImageError::io("rename", &fresh))?;
    files::dir_absent(&download).map_err(ImageError::io("remove", &download))?;
    Ok(KernelFiles::in_package(&target).ok_or(ImageError::NoKernel(target))?)
}

/// The exact name in the first dependency of the package that always leads to the newest.
fn exact(shown: &str) -> Option<&str> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let name = depends.split([' ', ',']).next()?;
    name.starts_with("linux-image-").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_package_is_read_from_what_leads_to_the_newest() {
        let shown = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        assert_eq!(exact(shown), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(exact("Depends: something-else\n"), None);
        assert_eq!(exact(""), None);
    }
}
