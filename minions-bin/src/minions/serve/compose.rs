//! Which parts make up the service.

use std::fmt::Write as _;
use std::sync::Arc;

use minions_core::config::{Backend, Config};
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::host::preflight::{Finding, FindingStatus};
use minions_core::network::DynNetwork;
use minions_core::node::LocalNode;
use minions_core::service::{Defaults, LocalAccounts, LocalControlPlane, Quota, Retention, ServiceConfig};
use minions_core::store::sqlite::{SqliteFleet, SqliteJournal};
use minions_core::store::{Journal, LeasePool, People};

use super::{Folder, memory, real};

/// The first of the unprivileged users that VMs may run as, and how many there are. Nobody gives these numbers away: those
/// that `adduser` lends to people for user namespaces end at 600,100,000, those of systemd's containers at 1,879,048,191,
/// and from 2,147,483,648 on numbers are negative to some programs.
pub const UIDS: (u32, u32) = (1_879_048_192, 65_536);

/// A host's ports without its journal.
pub struct Parts {
    pub hypervisor: minions_core::hypervisor::DynHypervisor,
    pub storage: minions_core::storage::DynStorage,
    pub network: DynNetwork,
    pub guest: minions_core::guest::DynGuestChannel,
}

/// A running service.
pub struct World {
    pub plane: Arc<LocalControlPlane>,
    pub accounts: Arc<LocalAccounts>,
    pub backend: &'static str,
    pub why: String,
    /// Whether real guests reach what listens on this host, its loopback included.
    pub guests_reach_host: bool,
    fleet: SqliteFleet,
    journal: SqliteJournal,
}

impl World {
    /// Whether anybody has an account, so that there is somebody whom a socket on the network could let in.
    pub async fn has_people(&self) -> Result<bool> {
        Ok(!self.fleet.users(&at_start("has_people"), None, 1).await?.is_empty())
    }

    /// Ends the service's own work and closes its files. VMs go on.
    pub async fn close(self) {
        drop(self.plane);
        for (name, closed) in [("fleet", self.fleet.close().await), ("journal", self.journal.close().await)] {
            if let Err(error) = closed {
                tracing::warn!(name, error = %error.chain(), "a store was not closed in order");
            }
        }
    }
}

pub async fn compose(folder: &Folder, config: &Config, env: &Env) -> Result<World> {
    let (backend, why, parts) = match config.backend {
        Backend::Memory => {
            folder.belongs_to("memory")?;
            (
                "memory",
                "simulated VMs, as asked; they are gone when this service ends".to_owned(),
                memory::open(env).await?,
            )
        }
        Backend::Qemu | Backend::CloudHypervisor | Backend::Auto => real::open(folder, config, env).await?,
    };
    if backend == "memory" {
        // The world that the journal tells of ended with the service before.
        memory::forget(&folder.state())?;
    }
    let pool = parts.network.capabilities();
    let guests_reach_host = !pool.isolated && !pool.simulated;
    let pool = LeasePool { addresses: pool.pools.into(), uid_first: UIDS.0, uid_count: UIDS.1, rest: LeasePool::REST };
    let journal = SqliteJournal::open(folder.state().join("journal.db"), pool, env.clock.clone()).await?;
    let fleet = SqliteFleet::open(folder.state().join("fleet.db")).await?;
    refuse_lost(&fleet, &journal).await?;
    let ports = Ports {
        hypervisor: parts.hypervisor,
        storage: parts.storage,
        network: parts.network,
        guest: parts.guest,
        journal: Arc::new(journal.clone()),
    };
    let node = LocalNode::start(folder.host(env)?, ports, env.clone(), EngineConfig::default()).await?;
    let (store, people, service) = (Arc::new(fleet.clone()), Arc::new(fleet.clone()), service_config(config));
    let accounts = LocalAccounts::new(store.clone(), people.clone(), env.clone(), service.store_limit);
    let plane = LocalControlPlane::start_with_people(store, people, node, env.clone(), service);
    if backend == "memory" {
        let lost = plane.declare_host_lost("the simulated host ended with the service that ran it").await?;
        tracing::warn!(lost, "this is a simulated host, and it begins empty; VMs of the one before are lost");
    }
    Ok(World { plane, accounts: Arc::new(accounts), backend, why, guests_reach_host, fleet, journal })
}

/// Refuses a fleet that was just made over a host that is not: its VMs would go on, and nobody could reach them.
async fn refuse_lost(fleet: &SqliteFleet, journal: &SqliteJournal) -> Result<()> {
    if fleet.created() && !journal.rows(&at_start("fleet_lost"), None, 1).await?.is_empty() {
        let message = "fleet.db is not there, but this host has VMs; restore it from a backup into the folder state";
        return Err(Error::new(ErrorKind::Denied, message).with_reason("fleet_lost"));
    }
    Ok(())
}

/// What is missing, with the lines to type.
pub fn cannot(findings: &[Finding]) -> String {
    let mut text = "this machine cannot run real VMs yet:".to_owned();
    for finding in findings.iter().filter(|finding| finding.status == FindingStatus::Fail) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {}: {}", finding.id, finding.message);
        if let Some(fix) = &finding.fix {
            let _ = write!(text, "\n    fix: {fix}");
        }
    }
    text.push_str("\nor look around with simulated VMs: --backend memory");
    text
}

/// How the service behaves by a configuration and, where that says nothing, by itself.
pub fn service_config(config: &Config) -> ServiceConfig {
    let (quota, defaults, keep) = (Quota::default(), Defaults::default(), Retention::default());
    ServiceConfig {
        quota: Quota {
            vms: config.quota_vms.unwrap_or(quota.vms),
            disk: config.quota_disk.unwrap_or(quota.disk),
            memory: config.quota_memory.unwrap_or(quota.memory),
        },
        defaults: Defaults {
            image: config.default_image.clone().or(defaults.image),
            vcpus: config.default_cpus.unwrap_or(defaults.vcpus),
            memory: config.default_memory.unwrap_or(defaults.memory),
            root: config.default_disk.unwrap_or(defaults.root),
            data: config.default_data_disk.unwrap_or(defaults.data),
        },
        retention: Retention {
            events_for: config.keep_events.unwrap_or(keep.events_for),
            events_most: config.keep_events_most.unwrap_or(keep.events_most),
            keys_for: config.keep_keys.unwrap_or(keep.keys_for),
            operations_for: config.keep_operations.unwrap_or(keep.operations_for),
            operations_most: config.keep_operations_most.unwrap_or(keep.operations_most),
            ..keep
        },
        ..ServiceConfig::default()
    }
}

/// The deadline of what is done once, at the start.
pub fn at_start(op: &'static str) -> CallCx {
    CallCx::new(op, std::time::Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use minions_core::store::GoalEntry;
    use minions_core::types::{AddressPool, AgentSecret, ByteSize, Generation, Goal, ImageId, Vcpus, VmId, VmSpec};

    use super::*;

    #[tokio::test]
    async fn bad_24_a_fleet_that_was_lost_over_a_host_with_vms_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = std::net::Ipv4Addr::new(10, 0, 0, 2);
        let addresses = vec![AddressPool { first, last: first }].into();
        let pool = LeasePool { addresses, uid_first: 9, uid_count: 1, rest: LeasePool::REST };
        let journal = SqliteJournal::open(dir.path().join("journal.db"), pool, Env::system().clock).await.unwrap();
        let fleet = SqliteFleet::open(dir.path().join("fleet.db")).await.unwrap();
        refuse_lost(&fleet, &journal).await.expect("both are new");
        let spec = VmSpec {
            image: ImageId::from_digest([0; 32]),
            vcpus: Vcpus(1),
            memory: ByteSize::mib(1),
            root: ByteSize::mib(1),
            data: None,
            ..VmSpec::of(ImageId::from_digest([0; 32]))
        };
        let (hostname, generation) = ("web".parse().unwrap(), Generation(1));
        let entry = GoalEntry { vm: VmId::from_bits(1), hostname, generation, goal: Goal::Running { epoch: 1 }, spec };
        journal.accept(&at_start("test"), &entry, &AgentSecret::from_bytes([0; 32])).await.unwrap();
        let error = refuse_lost(&fleet, &journal).await.expect_err("the fleet was made just now");
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("fleet_lost")));
        fleet.close().await.unwrap();
        let fleet = SqliteFleet::open(dir.path().join("fleet.db")).await.unwrap();
        refuse_lost(&fleet, &journal).await.expect("it was there before");
    }

    #[test]
    fn bad_28_what_is_missing_is_told_with_the_line_to_type() {
        let findings = [
            Finding::fail("qemu", "it is not on this host", "apt-get install qemu-system-x86"),
            Finding::warn("kvm", "guests run in emulation", "another host"),
            Finding::ok("disk_space", "enough"),
        ];
        let text = cannot(&findings);
        assert!(text.contains("qemu: it is not on this host\n    fix: apt-get install qemu-system-x86"), "{text}");
        assert!(text.contains("--backend memory") && !text.contains("kvm") && !text.contains("disk_space"), "{text}");
    }
}
