//! Writes a halted guest down, and lets a monitor go on from there.
//!
//! A monitor reaches nothing but its own folder, so it writes there and reads from there; between that folder and the one
//! that was asked for, the files go by our hands.

use std::fs::File;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::machine::{Machine, phase_of};
use crate::host::files;
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::{VmmConfig, VmmPhase};

/// Where a folder is, as a monitor wants to be told.
fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

impl Machine {
    /// The halted guest's memory and devices are in this folder.
    pub async fn capture(&self, folder: &Path) -> Result<(), MonitorError> {
        let monitor = self.monitor().await?.ok_or(MonitorError::NoGuest { id: self.id })?;
        let (own, to) = (self.places.capture(), folder.to_owned());
        let empty = || {
            let (own, dir) = (own.clone(), self.places.dir().to_owned());
            self.files_work("make a folder for a guest that is written down", move || {
                files::dir_absent(&own)?;
                files::make_dir(&own)?;
                like(&own, &dir)
            })
        };
        let done: Result<(), MonitorError> = async {
            self.talk(&monitor, async |api| match phase_of(api.info().await?.as_ref()) {
                VmmPhase::Paused => {
                    empty().await?;
                    api.put_slowly("vm.snapshot", Some(&json!({ "destination_url": url(&own) }))).await
                }
                _ => Err(MonitorError::NoGuest { id: self.id }),
            })
            .await?;
            let own = own.clone();
            self.files_work("keep a guest that was written down", move || {
                for name in files::names(&own)? {
                    take(&own.join(&name), &to.join(&name))?;
                }
                files::sync_dir(&to)
            })
            .await
        }
        .await;
        let own = self.places.capture();
        self.files_work("remove what a monitor wrote", move || files::dir_absent(&own)).await?;
        done
    }

    /// What makes the VM in an empty monitor: its own configuration, or what was written down.
    pub async fn made_of(&self, config: &VmmConfig, vm: Value) -> Result<(&'static str, Value), MonitorError> {
        let Some(from) = config.restore.clone() else { return Ok(("vm.create", vm)) };
        let (own, dir) = (self.places.capture(), self.places.dir().to_owned());
        let source = json!({ "source_url": url(&own), "resume": false });
        self.files_work("read a guest that was written down", move || {
            files::dir_absent(&own)?;
            files::make_dir(&own)?;
            like(&own, &dir)?;
            for name in files::names(&from)? {
                let to = own.join(&name);
                io::copy(&mut files::open_read(&from.join(&name))?, &mut files::open_write(&to, 0o600)?)?;
                like(&to, &dir)?;
            }
            Ok(())
        })
        .await?;
        Ok(("vm.restore", source))
    }

    async fn files_work<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, MonitorError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(io::Error::other).flatten().map_err(MonitorError::io(what))
    }
}

/// Belongs to the user whose group the VM's folder has: the monitor's, where it is one of its own.
fn like(path: &Path, dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let group = std::fs::symlink_metadata(dir)?.gid();
    if std::fs::symlink_metadata(path)?.uid() == group {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(group), Some(group))
}

/// Takes a file over, by its name where that goes, and makes it durable.
fn take(from: &Path, to: &Path) -> io::Result<()> {
    files::absent(to)?;
    if std::fs::rename(from, to).is_err() {
        // Another file system.
        io::copy(&mut files::open_read(from)?, &mut files::open_write(to, 0o600)?)?;
    }
    let root = rustix::process::geteuid().as_raw();
    std::os::unix::fs::lchown(to, Some(root), None)?;
    File::open(to)?.sync_all()
}
