//! Row 22: durable changes a second by many writers, against one writer that commits each by itself.

use std::time::Instant;

use minions_core::env::Env;
use minions_core::store::fleet::FleetStore;
use minions_core::store::sqlite::SqliteFleet;
use minions_core::store::{
    Access, EventKind, FleetChange, NewEvent, OperationRow, OperationState, Owner, VmRow, Write,
};
use minions_core::types::{ByteSize, Generation, Goal, ImageId, OperationVerb, Vcpus, VmSpec};
use tokio::task::JoinSet;

use crate::Result;
use crate::floor;
use crate::host::cx;
use crate::measure::{Process, median};
use crate::report::{Figure, Goal as Wanted, short};
use crate::suite::{Run, folder};

/// Clients that write at the same time.
const WRITERS: usize = 256;

/// What accepting a create writes: a VM, its operation, its event.
fn change(env: &Env, name: &str) -> Result<FleetChange> {
    let now = env.clock.wall();
    let owner = Owner("ada".to_owned());
    let row = VmRow {
        id: env.vm_id(),
        name: name.parse()?,
        owner: owner.clone(),
        spec: VmSpec {
            image: ImageId::from_digest([7; 32]),
            vcpus: Vcpus(1),
            memory: ByteSize::mib(128),
            root: ByteSize::mib(64),
            data: None,
            ..VmSpec::of(ImageId::from_digest([7; 32]))
        },
        goal: Goal::Running { epoch: 1 },
        generation: Generation(1),
        settled: Generation(0),
        epoch: 1,
        failure: None,
        created: now,
        updated: now,
        deleted: None,
        kept: false,
        access: Access::default(),
    };
    let operation = OperationRow {
        id: env.operation_id(),
        verb: OperationVerb::Create,
        vm: row.id,
        owner: owner.clone(),
        generation: row.generation,
        idempotency: None,
        state: OperationState::Pending,
        marks: Vec::new(),
        created: now,
        ended: None,
    };
    let kind = EventKind::Accepted { operation: operation.id, verb: operation.verb };
    let events = vec![NewEvent { vm: row.id, name: row.name.clone(), owner, at: now, kind }];
    Ok(FleetChange {
        guards: Vec::new(),
        writes: vec![Write::InsertVm(row), Write::InsertOperation(operation)],
        events,
        ..FleetChange::default()
    })
}

/// Changes a second, their CPU time in microseconds, and how many shared a commit.
async fn grouped(fleet: &SqliteFleet, round: usize, count: usize) -> Result<(f64, f64, f64)> {
    let env = Env::system();
    let mut changes = Vec::with_capacity(count);
    for number in 0..count {
        changes.push(change(&env, &format!("vm-{round}-{number}"))?);
    }
    let (commits, cpu, begin) = (fleet.commits(), Process::own().cpu()?, Instant::now());
    let mut writers = JoinSet::new();
    for share in changes.chunks(count.div_ceil(WRITERS)) {
        let (fleet, share) = (fleet.clone(), share.to_vec());
        writers.spawn(async move {
            for change in &share {
                fleet.commit(&cx("bench"), change).await?;
            }
            Ok::<_, minions_core::Error>(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    let cpu = (Process::own().cpu()? - cpu) / count as f64;
    Ok((rate, cpu, count as f64 / (fleet.commits() - commits) as f64))
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let folder = folder()?;
    let fleet = SqliteFleet::open(folder.path().join("fleet.db")).await?;
    let (mut ours, mut cpus, mut groups, mut floors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut lone, mut floor_cpus, count) = (Vec::new(), Vec::new(), run.pick(20_000, 50_000));
    for round in 0..run.pick(3, 5) {
        let before = Process::own().cpu()?;
        floors.push(1e6 / floor::autocommits(folder.path(), 2_000)?);
        floor_cpus.push((Process::own().cpu()? - before) / 2_000.0);
        let (rate, cpu, group) = grouped(&fleet, round, count).await?;
        ours.push(rate);
        cpus.push(cpu);
        groups.push(group);
        let env = Env::system();
        let begin = Instant::now();
        for number in 0..500 {
            fleet.commit(&cx("bench"), &change(&env, &format!("lone-{round}-{number}"))?).await?;
        }
        lone.push(500.0 / begin.elapsed().as_secs_f64());
    }
    fleet.close().await?;
    let (rate, floor) = (median(&mut ours), median(&mut floors));
    Ok(vec![
        Figure::new("22", format!("durable changes by {WRITERS} writers against autocommit FULL"), rate / floor, "x", Wanted::AtLeast(10.0))
            .note(format!(
                "{} /s against {} /s; each is a VM, an operation and an event in three tables with seven indexes; {} share a commit; CPU {} µs each against {} µs",
                short(rate),
                short(floor),
                short(median(&mut groups)),
                short(median(&mut cpus)),
                short(median(&mut floor_cpus))
            )),
        Figure::new("22", "one writer alone against autocommit FULL", median(&mut lone) / floor, "x", Wanted::None)
            .note("what the way through the queue and two threads costs whoever is alone"),
    ])
}
