//! The bridge network on real interfaces and a real firewall, in network namespaces of its own.
//!
//! Each test enters one of its own before its runtime starts a thread, so that nothing of this host is seen or touched.
//! Needs root, `/dev/net/tun` and the programs `nft` and `ip`; says loudly where it is skipped.
#![cfg(all(target_os = "linux", feature = "testkit", feature = "bridge"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod crowd;
mod drift;
mod foreign;
mod frames;
mod guest;
mod isolation;
mod place;
mod policy;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use minions_core::env::CallCx;
use minions_core::error::Result;
use minions_core::network::bridge::BridgeNetwork;
use minions_core::network::{Network, NetworkCapabilities, PortConfig, PortStatus};
use minions_core::testkit::skip;
use minions_core::types::{StepReport, VmId};
use place::Place;

/// The network of a namespace, or another one that keeps the contract where none can be made.
#[derive(Debug)]
enum Subject {
    Real(BridgeNetwork),
    Skipped(minions_core::memory::InMemoryNetwork),
}

impl Subject {
    async fn make(_: PathBuf) -> Arc<dyn Network> {
        match Place::enter("the suite of the network port") {
            Some(place) => Arc::new(Self::Real(place.open().await)),
            None => {
                skip("the suite of the network port", "it ran on the in-memory host");
                Arc::new(Self::Skipped(minions_core::memory::InMemoryHost::new().network()))
            }
        }
    }

    fn network(&self) -> &dyn Network {
        match self {
            Self::Real(network) => network,
            Self::Skipped(network) => network,
        }
    }
}

#[async_trait]
impl Network for Subject {
    fn capabilities(&self) -> NetworkCapabilities {
        self.network().capabilities()
    }

    async fn ensure_port(&self, cx: &CallCx, config: &PortConfig) -> Result<StepReport> {
        self.network().ensure_port(cx, config).await
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        self.network().ensure_absent(cx, id).await
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<PortStatus>> {
        self.network().observe(cx, id).await
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        self.network().list(cx).await
    }
}

minions_core::network_suite!(bridge, Subject::make);
