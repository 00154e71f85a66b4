//! Bridges with a TAP interface per VM, pinned by nftables before it comes up, with NAT to the outside.
//!
//! What is ours bears our label: bridges and ports as the interface's alias, elements of the firewall as their comment.
//! So a port is found again by whatever is left of it, and nothing else is ever changed. One thread changes the host
//! (`actor.rs`), through rtnetlink and nfnetlink; the program `nft` runs only to load the table.
//!
//! Guests reach neither the host nor each other nor private ranges nor mail servers; IPv6 is dropped. A port is a TAP
//! interface with one queue and a header for virtio that its VM's user may open.

mod actor;
mod attach;
mod bridges;
mod config;
mod conntrack;
mod detach;
mod elements;
mod error;
mod link;
mod preflight;
mod record;
mod ruleset;
mod seal;
mod socket;
mod tap;
mod watch;
mod wire;
mod worker;

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::{Network, NetworkCapabilities, PortConfig, PortStatus};
use crate::env::CallCx;
use crate::error::Result;
use crate::types::{StepReport, VmId};
use actor::{Actor, Job};
use error::BridgeError;
use watch::Watch;
use worker::Worker;

pub use actor::Sent;
pub use config::BridgeConfig;
pub use preflight::preflight;

/// How long after a failure the firewall is looked at again, at first.
const SOON: Duration = Duration::from_millis(100);
/// And at last.
const LATER: Duration = Duration::from_secs(30);

/// Ports on the bridges of this host.
#[derive(Clone, Debug)]
pub struct BridgeNetwork(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<BridgeConfig>,
    actor: Actor,
    /// Held while the table is loaded.
    loading: Mutex<()>,
    watching: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl BridgeNetwork {
    /// In the network namespace of the calling thread: loads the firewall's table, makes the bridges, lets packets be
    /// handed on. Ports that are there stay as they are.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration that cannot work. `Unsupported` with the reason `host_misconfigured` where
    /// something on the host is in the way: its message ends with what to type.
    pub async fn open(config: BridgeConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let worker = Worker::new(config.clone())?;
        let actor = Actor::start(worker).map_err(BridgeError::io("start the network's thread"))?;
        actor.ask(Job::Look).await?;
        ruleset::load(&config).await?;
        let watch = Watch::start().map_err(BridgeError::io("watch the firewall"))?;
        actor.ask(Job::Begin).await?;
        Ok(Self(Arc::new_cyclic(|inner| {
            let watching = tokio::spawn(guard(watch, inner.clone())).abort_handle();
            Inner { config, actor, loading: Mutex::new(()), watching }
        })))
    }

    /// How often the kernel was asked, since this was opened.
    pub async fn sent(&self) -> Result<Sent> {
        Ok(self.0.actor.ask(Job::Sent).await?)
    }
}

impl Inner {
    async fn ensure(&self, config: &PortConfig) -> Result<(), BridgeError> {
        let ask = || self.actor.ask(|to| Job::Ensure(Box::new(config.clone()), to));
        match ask().await {
            Err(BridgeError::NoTable) => self.reload().await?,
            // The bridge went meanwhile; by now it is looked for anew.
            Err(error) if matches!(error.errno(), Some(libc::ENODEV | libc::ENXIO | libc::EINVAL)) => {}
            done => return done,
        }
        ask().await
    }

    /// Somebody took the table away, or changed it.
    async fn reload(&self) -> Result<(), BridgeError> {
        let _one = self.loading.lock().await;
        if self.actor.ask(Job::Sealed).await? {
            return Ok(());
        }
        tracing::warn!("the firewall's table was changed by somebody else; it is loaded anew");
        ruleset::load(&self.config).await?;
        self.actor.ask(Job::Begin).await
    }
}

/// Puts the table back as soon as somebody takes it away. Where that cannot be done, nothing stays up, and it is tried
/// again: at the next change, and unasked after a while.
async fn guard(watch: Watch, inner: Weak<Inner>) {
    let (mut watch, mut again) = (Some(watch), None);
    loop {
        if let Err(error) = heard(&mut watch, again).await {
            tracing::error!(%error, "changes of the firewall are not noticed as they happen");
            watch = None;
        }
        let Some(inner) = inner.upgrade() else { return };
        let reloaded = inner.reload().await;
        // Without a watch the table is looked at now and then.
        let failed = reloaded.is_err() || watch.is_none();
        again = failed.then(|| again.map_or(SOON, |pause: Duration| (pause * 2).min(LATER)));
        if let Err(error) = reloaded {
            let error = crate::Error::from(error);
            tracing::error!(error = %error.chain(), "the firewall's table cannot be put back; all ports go down");
            if let Err(error) = inner.actor.ask(Job::Close).await {
                tracing::error!(%error, "ports are up without a firewall");
            }
        }
    }
}

/// Waits for a change, or until it is time to look `again`; then a watch that was lost begins anew, before one looks.
async fn heard(watch: &mut Option<Watch>, again: Option<Duration>) -> io::Result<()> {
    match (watch.as_ref(), again) {
        (Some(watch), None) => watch.changed().await,
        (Some(watch), Some(pause)) => tokio::time::timeout(pause, watch.changed()).await.unwrap_or(Ok(())),
        (None, pause) => {
            tokio::time::sleep(pause.unwrap_or(SOON)).await;
            *watch = Some(Watch::start()?);
            Ok(())
        }
    }
}

#[async_trait]
impl Network for BridgeNetwork {
    fn capabilities(&self) -> NetworkCapabilities {
        NetworkCapabilities {
            name: "bridge".to_owned(),
            isolated: true,
            simulated: false,
            rate_limits: true,
            pools: self.0.config.pools(),
        }
    }

    async fn ensure_port(&self, cx: &CallCx, config: &PortConfig) -> Result<StepReport> {
        cx.bound(async { Ok(self.0.ensure(config).await?) }).await?;
        Ok(StepReport::empty())
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        cx.bound(async { Ok(self.0.actor.ask(|to| Job::Absent(id, to)).await?) }).await?;
        Ok(StepReport::empty())
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<PortStatus>> {
        cx.bound(async { Ok(self.0.actor.ask(|to| Job::Observe(id, to)).await?) }).await
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        cx.bound(async { Ok(self.0.actor.ask(Job::List).await?) }).await
    }
}
