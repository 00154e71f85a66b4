//! Where disks lie.

use std::path::PathBuf;
use std::sync::Arc;

use minions_core::config::{StorageKind, StorageSettings};
use minions_core::env::Env;
use minions_core::error::Result;
use minions_core::host::preflight::Finding;
use minions_core::storage::DynStorage;
use minions_core::storage::file::FileStorage;
use minions_core::storage::lvm::{LvmConfig, LvmStorage, preflight};

use super::Folder;

/// Looks at what the storage needs. Changes nothing.
pub async fn examine(folder: &Folder, settings: &StorageSettings) -> Vec<Finding> {
    match settings.kind {
        StorageKind::File => Vec::new(),
        StorageKind::Lvm => preflight(&lvm(folder, settings)).await,
    }
}

/// The storage.
pub async fn open(folder: &Folder, settings: &StorageSettings, env: &Env) -> Result<DynStorage> {
    match settings.kind {
        StorageKind::File => Ok(Arc::new(FileStorage::open(folder.dir(), env.clone()).await?)),
        StorageKind::Lvm => {
            let config = LvmConfig { host: Some(folder.host(env)?), ..lvm(folder, settings) };
            Ok(Arc::new(LvmStorage::open(config, env.clone()).await?))
        }
    }
}

/// Where the folders of images are.
pub fn images(folder: &Folder, settings: &StorageSettings) -> PathBuf {
    match settings.kind {
        StorageKind::File => folder.dir().join("images"),
        StorageKind::Lvm => lvm(folder, settings).dir.join("images"),
    }
}

/// What the operator said, and for the rest the usual group and pool.
pub fn lvm(folder: &Folder, settings: &StorageSettings) -> LvmConfig {
    let usual = LvmConfig::new(&folder.dir().join("lvm"));
    LvmConfig {
        vg: settings.vg.clone().unwrap_or(usual.vg),
        pool: settings.pool.clone().unwrap_or(usual.pool),
        host: folder.noted_host(),
        dir: usual.dir,
        programs: usual.programs,
        look_every: usual.look_every,
    }
}
