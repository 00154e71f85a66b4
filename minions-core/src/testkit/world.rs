//! A whole world that follows from a seed: a simulated host, its journal, and the fleet's store.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::engine::Ports;
use crate::env::Env;
use crate::memory::{InMemoryFleet, InMemoryHost, InMemoryJournal};
use crate::store::journal::{GoalEntry, LeasePool};
use crate::types::{AddressPool, ByteSize, Generation, Goal, Vcpus, VmId, VmName, VmSpec};

/// What survives an engine. Two of the same seed give the same ids in the same order.
#[derive(Debug)]
pub struct World {
    /// The host, with its demo image.
    pub host: InMemoryHost,
    /// What the host has taken on.
    pub journal: Arc<InMemoryJournal>,
    /// What people asked for.
    pub fleet: Arc<InMemoryFleet>,
    /// Time that follows tokio's, and ids that follow from the seed.
    pub env: Env,
}

impl World {
    /// Where its leases come from: within the pool of the host's network.
    pub const POOL: LeasePool = LeasePool {
        addresses: Cow::Borrowed(&[AddressPool {
            first: Ipv4Addr::new(10, 200, 0, 2),
            last: Ipv4Addr::new(10, 200, 255, 254),
        }]),
        uid_first: 200_000,
        uid_count: 10_000,
        rest: LeasePool::REST,
    };

    /// From a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let env = Env::seeded(seed);
        Self {
            host: InMemoryHost::new(),
            journal: Arc::new(InMemoryJournal::new(Self::POOL, env.clock.clone())),
            fleet: Arc::new(InMemoryFleet::new()),
            env,
        }
    }

    /// From the seed in the variable `MINIONS_SEED`, which replays a run; else from this one. Says which.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a test is told what to replay by its environment alone")]
    #[expect(clippy::print_stdout, reason = "whoever reads the test's output shall be able to replay it")]
    pub fn replayed(otherwise: u64) -> Self {
        let seed = std::env::var("MINIONS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(otherwise);
        println!("MINIONS_SEED={seed}");
        Self::seeded(seed)
    }

    /// What an ordinary VM shall be: the demo image, a small root disk, a data disk.
    #[must_use]
    pub fn spec(&self) -> VmSpec {
        VmSpec {
            image: InMemoryHost::demo_image().id,
            vcpus: Vcpus(1),
            memory: ByteSize::mib(128),
            root: ByteSize::mib(64),
            data: Some(ByteSize::mib(16)),
            ..VmSpec::of(InMemoryHost::demo_image().id)
        }
    }

    /// Its ports, as an engine takes them.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports {
            hypervisor: Arc::new(self.host.hypervisor()),
            storage: Arc::new(self.host.storage()),
            network: Arc::new(self.host.network()),
            guest: Arc::new(self.host.guest()),
            journal: self.journal.clone(),
        }
    }

    /// A new VM that shall run.
    ///
    /// # Panics
    /// If the number makes no name.
    #[must_use]
    pub fn entry(&self, number: u32) -> GoalEntry {
        GoalEntry {
            vm: self.env.vm_id(),
            hostname: name(number),
            generation: Generation(1),
            goal: Goal::Running { epoch: 1 },
            spec: self.spec(),
        }
    }

    /// The next generation of an entry, with another goal.
    #[must_use]
    pub fn change(entry: &GoalEntry, goal: Goal) -> GoalEntry {
        GoalEntry { generation: entry.generation.next(), goal, ..entry.clone() }
    }

    /// The ids that a world of this seed gives first.
    #[must_use]
    pub fn ids(seed: u64, count: usize) -> Vec<VmId> {
        let env = Env::seeded(seed);
        (0..count).map(|_| env.vm_id()).collect()
    }
}

fn name(number: u32) -> VmName {
    format!("vm{number}").parse().expect("letters and a number are a name")
}
