//! Forwards the port Network.

use async_trait::async_trait;

use super::{Layered, forward};
use crate::env::CallCx;
use crate::error::Result;
use crate::network::{Network, NetworkCapabilities, PortConfig, PortStatus};
use crate::types::{StepReport, VmId};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Network + ?Sized> Network for Layered<P> {
    fn capabilities(&self) -> NetworkCapabilities {
        self.inner.capabilities()
    }

    async fn ensure_port(&self, cx: &CallCx, config: &PortConfig) -> Result<StepReport> {
        forward!(self, cx, Change, "network.ensure_port", Some(config.id), ensure_port(config))
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        forward!(self, cx, Change, "network.ensure_absent", Some(id), ensure_absent(id))
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<PortStatus>> {
        forward!(self, cx, Read, "network.observe", Some(id), observe(id))
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        forward!(self, cx, Read, "network.list", None, list())
    }
}
