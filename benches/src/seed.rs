//! Stores that know many VMs already, as if each had been created, stopped and settled.

use std::path::Path;

use minions_core::env::Env;
use minions_core::storage::{DynStorage, VolumeConfig, VolumeSource};
use minions_core::store::fleet::FleetStore;
use minions_core::store::sqlite::{SqliteFleet, SqliteJournal};
use minions_core::store::{Access, FleetChange, GoalEntry, Journal, Outcome, Owner, VmQuery, VmRow, Write};
use minions_core::types::{ByteSize, Generation, Goal, ImageId, StopHow, Vcpus, VmId, VmSpec, VolumeId};
use tokio::task::JoinSet;

use crate::Result;
use crate::host::{Kind, cx};

/// VMs of one owner: the default quota allows ten times as many.
const OF_ONE_OWNER: usize = 100;

/// The disk of a VM that is only known.
const ROOT: ByteSize = ByteSize::mib(64);

/// Writes so many stopped VMs into the stores of a folder.
pub async fn stores(kind: Kind, dir: &Path, image: ImageId, known: usize) -> Result<()> {
    let env = Env::system();
    let fleet = SqliteFleet::open(dir.join("fleet.db")).await?;
    let journal = SqliteJournal::open(dir.join("journal.db"), kind.pool(), env.clock.clone()).await?;
    let rows: Vec<VmRow> = (0..known).map(|number| row(&env, image, number)).collect::<Result<_>>()?;
    for some in rows.chunks(500) {
        let writes = some.iter().cloned().map(Write::InsertVm).collect();
        fleet.commit(&cx("seed"), &FleetChange { writes, ..FleetChange::default() }).await?;
    }
    // Many at a time, so that they share their commits.
    for some in rows.chunks(1_000) {
        let mut jobs = JoinSet::new();
        for row in some {
            let entry = GoalEntry {
                vm: row.id,
                hostname: row.name.clone(),
                generation: row.generation,
                goal: row.goal,
                spec: row.spec.clone(),
            };
            let (journal, secret) = (journal.clone(), env.agent_secret());
            jobs.spawn(async move {
                journal.accept(&cx("seed"), &entry, &secret).await?;
                journal.provisioned(&cx("seed"), entry.vm, 0).await?;
                journal.settle(&cx("seed"), entry.vm, entry.generation, &Outcome::Met).await
            });
        }
        while let Some(done) = jobs.join_next().await {
            done??;
        }
    }
    fleet.close().await?;
    journal.close().await?;
    Ok(())
}

fn row(env: &Env, image: ImageId, number: usize) -> Result<VmRow> {
    let now = env.clock.wall();
    Ok(VmRow {
        id: env.vm_id(),
        name: format!("known-{number}").parse()?,
        owner: Owner(format!("owner-{}", number / OF_ONE_OWNER)),
        spec: VmSpec {
            image,
            vcpus: Vcpus(1),
            memory: ByteSize::mib(128),
            root: ROOT,
            data: None,
            ..VmSpec::of(image)
        },
        goal: Goal::Stopped { how: StopHow::Force },
        generation: Generation(2),
        settled: Generation(2),
        epoch: 1,
        failure: None,
        created: now,
        updated: now,
        deleted: None,
        kept: false,
        access: Access::default(),
    })
}

/// Makes the disks of every VM that the fleet of a folder knows. Returns how many there are.
pub async fn volumes(dir: &Path, storage: &DynStorage) -> Result<usize> {
    let fleet = SqliteFleet::open(dir.join("fleet.db")).await?;
    let (mut after, mut made) = (None::<VmId>, 0);
    loop {
        let query = VmQuery { after, limit: 200, ..VmQuery::default() };
        let rows = fleet.vms(&cx("seed"), &query).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        made += rows.len();
        let mut jobs = JoinSet::new();
        for row in &rows {
            let storage = storage.clone();
            let source = VolumeSource::Image(row.spec.image);
            let config = VolumeConfig { id: VolumeId::root(row.id), size: row.spec.root, source };
            jobs.spawn(async move { storage.ensure_volume(&cx("seed"), &config).await });
        }
        while let Some(done) = jobs.join_next().await {
            done??;
        }
    }
    fleet.close().await?;
    Ok(made)
}
