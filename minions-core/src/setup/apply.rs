//! Does a step.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::host::command::Tool;
use crate::host::{files, lookup};
use crate::storage::lvm::{ensure_pool, has_group};

use super::device::{self, Device};
use super::error::SetupError;
use super::found::{sysctl, text};
use super::step::Step;
use super::unit::SERVICE;
use super::wish::{MARK, Wish};

/// What loading a module and asking systemd may take.
const LIMIT: Duration = Duration::from_mins(1);
/// What the service's start may take, a probe boot included.
const START: Duration = Duration::from_mins(6);

/// The host that steps are done to.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    programs: Vec<PathBuf>,
}

impl Default for Host {
    fn default() -> Self {
        Self { root: "/".into(), programs: lookup::DEFAULT_DIRS.map(PathBuf::from).to_vec() }
    }
}

impl Host {
    /// One in a folder, with programs of its own.
    #[cfg(test)]
    pub(super) fn at(root: &Path, programs: &Path) -> Self {
        Self { root: root.to_owned(), programs: vec![programs.to_owned()] }
    }

    /// Does a step of a plan for this wish. One that was done already does no harm.
    ///
    /// # Errors
    /// What the kernel, a program or lvm2 says. What was done until then stays, and the next plan goes on from there.
    pub async fn apply(&self, wish: &Wish, step: &Step) -> Result<()> {
        match step {
            Step::Folder { path, mode, .. } => {
                let (path, mode) = (self.inside(path), *mode);
                crate::host::blocking(move || Ok(make(&path, mode)?)).await
            }
            Step::Mode { path, mode, .. } => {
                let (path, mode) = (self.inside(path), *mode);
                let change = move || {
                    let changed = std::fs::set_permissions(&path, Permissions::from_mode(mode));
                    Ok(changed.map_err(SetupError::file("change the mode of", path))?)
                };
                crate::host::blocking(change).await
            }
            Step::Module { name, .. } => self.run("modprobe", &[name], LIMIT).await,
            Step::Sysctl { key, value, .. } => {
                let (path, value) = (sysctl(&self.root, key), *value);
                let set = move || Ok(std::fs::write(&path, value).map_err(SetupError::file("write", path))?);
                crate::host::blocking(set).await
            }
            Step::File { path, text, theirs, .. } => {
                let (path, text, theirs) = (self.inside(path), text.clone(), *theirs);
                crate::host::blocking(move || Ok(write(&path, &text, theirs)?)).await
            }
            Step::Pool { devices, .. } => match &wish.lvm {
                Some(lvm) => {
                    if !devices.is_empty() && !has_group(lvm).await? {
                        still_blank(devices.clone()).await?;
                    }
                    ensure_pool(lvm, devices).await.map(drop)
                }
                None => Ok(()),
            },
            Step::Reload => self.run("systemctl", &["daemon-reload"], LIMIT).await,
            Step::Enable => self.run("systemctl", &["enable", "--quiet", SERVICE], LIMIT).await,
            Step::Start => self.run("systemctl", &["start", SERVICE], START).await,
        }
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    async fn run(&self, program: &'static str, words: &[&str], limit: Duration) -> Result<()> {
        let Some(path) = lookup::find_in(&self.programs, program) else {
            let fix = if program == "modprobe" { "apt-get install kmod" } else { "run this host by systemd" };
            return Err(SetupError::Program { program, fix }.into());
        };
        let ran = Tool::new(&path).args(words).limit(limit).run().await;
        ran.map_err(|source| SetupError::Command { program, source })?;
        Ok(())
    }
}

/// Disks may have been put to use since the plan was made, which a person has read meanwhile.
async fn still_blank(devices: Vec<PathBuf>) -> Result<()> {
    crate::host::blocking(move || {
        for path in devices {
            if let Device::Unfit { why, fix } = device::look(&path) {
                return Err(SetupError::Disk { why, fix }.into());
            }
        }
        Ok(())
    })
    .await
}

fn make(path: &Path, mode: u32) -> Result<(), SetupError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755);
    if let Some(parent) = path.parent() {
        builder.create(parent).map_err(SetupError::file("make", parent))?;
    }
    builder.mode(mode).create(path).map_err(SetupError::file("make", path))?;
    // Whatever the caller's mask is.
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(SetupError::file("change the mode of", path))
}

/// Whole or not at all. What came there meanwhile and is not ours stays.
fn write(path: &Path, wanted: &str, theirs: bool) -> Result<(), SetupError> {
    let there = text(path).map_err(SetupError::file("read", path))?;
    if there.is_some_and(|text| theirs || !text.starts_with(MARK)) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755).create(parent).map_err(SetupError::file("make", parent))?;
    }
    files::replace(path, wanted.as_bytes(), 0o644).map_err(SetupError::file("write", path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).map_err(SetupError::file("change the mode of", path))
}
