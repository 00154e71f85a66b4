//! Which network guests are on.

use std::path::PathBuf;
use std::sync::Arc;

use minions_core::config::{NetworkKind, NetworkSettings};
use minions_core::error::Result;
use minions_core::host::preflight::Finding;
use minions_core::network::DynNetwork;
use minions_core::network::bridge::{BridgeConfig, BridgeNetwork, preflight};
use minions_core::network::user::{UserNetwork, UserNetworkConfig};

use super::Folder;

/// Looks at what the network needs. Changes nothing.
pub async fn examine(folder: &Folder, settings: &NetworkSettings) -> Result<Vec<Finding>> {
    match settings.kind {
        NetworkKind::Bridge => Ok(preflight(&bridge(folder.program("nft"), settings)?).await),
        NetworkKind::User => Ok(vec![Finding::warn(
            "network",
            "guests are behind their monitor's NAT, and reach what listens on this host, on 127.0.0.1 too",
            "let nothing listen here on TCP that does not ask who calls, or set network.kind = \"bridge\"",
        )]),
    }
}

/// The network, and what it needs of the host.
pub async fn open(folder: &Folder, settings: &NetworkSettings) -> Result<DynNetwork> {
    match settings.kind {
        NetworkKind::Bridge => Ok(Arc::new(BridgeNetwork::open(bridge(folder.program("nft"), settings)?).await?)),
        NetworkKind::User => {
            Ok(Arc::new(UserNetwork::open(&folder.dir().join("ports"), UserNetworkConfig::default())?))
        }
    }
}

/// What the operator said, and for the rest what a bridge is by itself.
fn bridge(nft: PathBuf, settings: &NetworkSettings) -> Result<BridgeConfig> {
    let usual = BridgeConfig::new(nft)?;
    Ok(BridgeConfig {
        subnet: settings.subnet.unwrap_or(usual.subnet),
        bridge: settings.bridge.clone().unwrap_or(usual.bridge),
        shards: settings.bridges.unwrap_or(usual.shards),
        resolvers: settings.resolvers.clone().unwrap_or(usual.resolvers),
        open: settings.open.clone().unwrap_or(usual.open),
        flows: usual.flows,
        nft: usual.nft,
    })
}
