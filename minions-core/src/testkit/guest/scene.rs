//! What the cases need of a guest channel.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::env::Env;
use crate::guest::DynGuestChannel;
use crate::types::{AgentSecret, Cid, VmId};

/// Boots guests with our agent, with other ports.
#[async_trait]
pub trait Boot: Debug + Send + Sync {
    /// A guest begins to boot behind a door that is open. What its agent proves itself with.
    async fn boot(&self, id: VmId, cid: Cid) -> AgentSecret;

    /// The guest is gone.
    async fn end(&self, id: VmId);
}

/// A guest channel and what its cases need.
#[derive(Debug)]
pub struct GuestScene {
    /// The channel.
    pub guest: DynGuestChannel,
    /// Makes the rest; `None` where no guest can be booted, and the cases that need one are skipped.
    pub boot: Option<Box<dyn Boot>>,
}

pub(super) struct Stage {
    pub scene: GuestScene,
    pub env: Env,
}

impl Stage {
    pub async fn new(make: &impl AsyncFn(PathBuf) -> GuestScene, folder: &Path) -> Self {
        Self { scene: make(folder.to_owned()).await, env: Env::seeded(13) }
    }
}
