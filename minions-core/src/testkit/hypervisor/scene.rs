//! What the cases need of a hypervisor.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::env::Env;
use crate::hypervisor::{DynHypervisor, VmmConfig, VmmPhase, VmmStatus};
use crate::testkit::cx;
use crate::types::VmId;

/// Makes what a monitor needs, with other ports.
#[async_trait]
pub trait Prepare: Debug + Send + Sync {
    /// A configuration whose disks, network port and door are there. Called again for the same id it changes no more
    /// than the epoch.
    async fn config(&self, id: VmId, epoch: u64) -> VmmConfig;

    /// Ends a monitor behind the hypervisor's back, as `kill -9` would; `false` where that cannot be done here.
    async fn kill(&self, id: VmId) -> bool;

    /// What a guest prints on its serial line once it gives back what is typed there; `None` where none ever does.
    fn greeting(&self) -> Option<&'static str> {
        None
    }
}

/// A hypervisor and what its cases need.
#[derive(Debug)]
pub struct HypervisorScene {
    /// The hypervisor.
    pub hypervisor: DynHypervisor,
    /// Makes the rest.
    pub prepare: Box<dyn Prepare>,
}

pub(super) struct Stage {
    pub scene: HypervisorScene,
    pub env: Env,
}

impl Stage {
    pub async fn new(make: &impl AsyncFn(PathBuf) -> HypervisorScene, folder: &Path) -> Self {
        Self { scene: make(folder.to_owned()).await, env: Env::seeded(9) }
    }

    pub async fn config(&self, epoch: u64) -> VmmConfig {
        self.scene.prepare.config(self.env.vm_id(), epoch).await
    }

    pub async fn running(&self) -> VmmConfig {
        let config = self.config(1).await;
        self.scene.hypervisor.ensure_running(&cx(), &config).await.unwrap();
        config
    }

    pub async fn observe(&self, id: VmId) -> Option<VmmStatus> {
        self.scene.hypervisor.observe(&cx(), id).await.unwrap()
    }

    pub async fn phase(&self, id: VmId) -> Option<VmmPhase> {
        self.observe(id).await.map(|status| status.phase)
    }

    pub async fn list(&self) -> Vec<VmId> {
        let mut ids = self.scene.hypervisor.list(&cx()).await.unwrap();
        ids.sort_unstable();
        ids
    }
}
