//! One run: a state, an operation, faults at chosen calls, a restart, and what must hold.

use std::time::Duration;

use minions_core::layers::{Call, Fault, FaultPlan};
use minions_core::service::{ControlPlane, IdempotencyKey};
use minions_core::types::VmId;

use crate::check::{self, Broken};
use crate::ops::{Before, Op, ask, prepare};
use crate::world::{Daemon, LONG, World, imprint, me};

/// What goes wrong in one run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub op: Op,
    pub before: Before,
    /// Whether the caller asks again with the same key after a crash or an error.
    pub again: bool,
    pub first: Option<(usize, Fault)>,
    /// Within the recovery from the first.
    pub second: Option<(usize, Fault)>,
}

/// Calls with their numbers, without those about the bystander.
pub type Calls = Vec<(usize, Call)>;

/// What a run has shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// The calls of the first daemon, with their numbers.
    pub calls: Calls,
    /// The calls of the daemon that recovers.
    pub recovery: Calls,
    /// Whether what was planned came to pass.
    pub reached: bool,
    /// The most changes of the world that one VM took to come to rest.
    pub steps: usize,
}

fn plan(world: &World, fault: Option<(usize, Fault)>) -> FaultPlan {
    let plan = fault.map_or_else(FaultPlan::none, |(k, fault)| FaultPlan::at(k, fault));
    let host = world.host.clone();
    plan.kills_with(move |call| {
        if let Some(vm) = call.vm {
            host.kill_vmm(vm);
        }
    })
}

/// Runs one case from an empty world, and shows its calls. The error says which promise is broken.
pub async fn run(case: Case, look: impl FnOnce(&Calls, &Calls)) -> Result<Seen, String> {
    let world = World::new(7).await;
    let prepared = prepare(&world, case.before).await;
    let mark = prepared.vm.map(|vm| (vm, imprint(&world.host, vm)));
    let bystander = bystander(&world);
    let witness = imprint(&world.host, bystander);
    let key: IdempotencyKey = "the-key".parse().map_err(|_| "key")?;
    let key = case.again.then_some(&key);

    let first = plan(&world, case.first);
    let mut acked = None;
    let mut daemon = world.boot(&first).await;
    if let Some(running) = &daemon {
        acked = during(&world, running, case, key, &first).await?;
    }
    let mut second = plan(&world, case.second);
    if first.has_crashed() || daemon.is_none() {
        if let Some(crashed) = daemon.take() {
            world.crash(crashed).await;
        }
        daemon = world.boot(&second).await;
        if daemon.is_none() || second.has_crashed() {
            if let Some(crashed) = daemon.take() {
                world.crash(crashed).await;
            }
            second = FaultPlan::none();
            daemon = world.boot(&second).await;
        }
        // The one that crashes later, while it recovers.
        if let Some(running) = &daemon {
            tokio::select! {
                done = recover(running, case, key) => acked = done?.or(acked),
                () = second.crashed() => {}
            }
        }
        if second.has_crashed() {
            if let Some(crashed) = daemon.take() {
                world.crash(crashed).await;
            }
            daemon = world.boot(&FaultPlan::none()).await;
            if let Some(running) = &daemon {
                acked = recover(running, case, key).await?.or(acked);
            }
        }
    }
    let daemon = daemon.ok_or("LIV-3: the daemon does not start")?;
    let rested = daemon.converge().await;
    let (calls, recovery) = (first.calls(), second.calls());
    let checked = async {
        rested?;
        // The death of a monitor is seen by itself, long before anything is looked at for no reason.
        tokio::time::sleep(Duration::from_secs(5)).await;
        daemon.converge().await?;
        check::at_rest(&world, &daemon)?;
        if case.first.is_none() {
            death_at_rest(&world, &daemon, bystander).await?;
        }
        // A stray word, an orphan: the sweep and the resync come by, too.
        tokio::time::sleep(Duration::from_secs(300)).await;
        daemon.converge().await?;
        if let Some(operation) = &acked {
            acked = Some(daemon.plane.operation(&me(), operation.id, LONG).await.map_err(|error| error.chain())?);
        }
        check::at_rest(&world, &daemon)?;
        check::result(&world, &daemon, (case.op, case.before), mark, acked.as_ref())?;
        if case.first.is_none() && !matches!(case.before, Before::Lost | Before::Creating) {
            check::worked(acked.as_ref())?;
        }
        if case.again {
            check::once(&daemon, case.op, prepared.mark)?;
        }
        unharmed(&world, bystander, &witness, &[&first, &second])
    }
    .await;
    let fault_of = |plan: &FaultPlan, fault: Option<_>| fault.is_none() || !plan.is_pending();
    let seen = Seen {
        calls: of_interest(calls, bystander),
        recovery: of_interest(recovery, bystander),
        reached: fault_of(&first, case.first) && fault_of(&second, case.second),
        steps: steps(&second, bystander).max(steps(&first, bystander)),
    };
    look(&seen.calls, &seen.recovery);
    world.crash(daemon).await;
    checked.map(|()| seen)
}

type Acked = Option<minions_core::api::v1::Operation>;

/// The operation under the first faults: what was acknowledged of it.
async fn during(
    world: &World,
    daemon: &Daemon,
    case: Case,
    key: Option<&IdempotencyKey>,
    plan: &FaultPlan,
) -> Result<Acked, String> {
    let asked = async {
        let mut answer = ask(daemon, case.op, key).await;
        if case.again && answer.is_err() {
            answer = ask(daemon, case.op, key).await;
        }
        let Ok(operation) = answer else { return Ok(None) };
        // INV-4: durable before it is acknowledged.
        if daemon.vm(operation.vm).is_none() {
            return Err("INV-4: acknowledged, and not durable".to_owned());
        }
        Ok(Some(operation))
    };
    let asked: Acked = tokio::select! {
        biased;
        asked = asked => asked?,
        () = plan.crashed() => return Ok(None),
    };
    let Some(operation) = asked.clone() else {
        tokio::select! {
            rested = daemon.converge() => rested?,
            () = plan.crashed() => {}
        }
        return Ok(None);
    };
    let ended = async {
        loop {
            // A failed read is the reader's to repeat.
            match daemon.plane.operation(&me(), operation.id, LONG).await {
                Ok(operation) => return operation,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let told = async {
        let ended = ended.await;
        check::heard_soon(world, &ended)?;
        if ended.outcome == minions_core::api::v1::OperationOutcome::Succeeded {
            let row = daemon.vm(ended.vm).ok_or("INV-4: a VM without a row")?;
            // A monitor that was made to die is not there, whatever was acknowledged just before.
            if !plan.hits().iter().any(|(_, fault)| *fault == Fault::VmmDies) {
                check::at_success(world, &row, &ended)?;
            }
        }
        Ok::<(), String>(())
    };
    tokio::select! {
        biased;
        both = async { tokio::try_join!(biased; told, daemon.converge()) } => {
            both?;
        }
        () = plan.crashed() => return Ok(asked),
    }
    tokio::select! {
        rested = daemon.converge() => rested?,
        () = plan.crashed() => {}
    }
    Ok(asked)
}

/// After a restart: come to rest; the caller asks again, if they do.
async fn recover(daemon: &Daemon, case: Case, key: Option<&IdempotencyKey>) -> Result<Acked, String> {
    let mut acked = None;
    if case.again {
        for _ in 0..3 {
            if let Ok(operation) = ask(daemon, case.op, key).await {
                acked = Some(operation);
                break;
            }
        }
    }
    daemon.converge().await?;
    Ok(acked)
}

/// RP-4: nothing is called that could go wrong any more, and then a monitor dies.
async fn death_at_rest(world: &World, daemon: &Daemon, bystander: VmId) -> Broken {
    let victim = world.census().monitors.into_iter().map(|monitor| monitor.id).find(|vm| *vm != bystander);
    let Some(victim) = victim else { return Ok(()) };
    world.host.kill_vmm(victim);
    tokio::time::sleep(Duration::from_secs(5)).await;
    daemon.converge().await?;
    check::at_rest(world, daemon)
}

fn bystander(world: &World) -> VmId {
    // Made first of all, and the only one that was ready then.
    let mut monitors = world.census().monitors;
    monitors.sort_by_key(|monitor| monitor.pid);
    monitors[0].id
}

/// INV-11: whatever happened to the other one, nothing happened to it.
fn unharmed(world: &World, vm: VmId, witness: &crate::world::Imprint, plans: &[&FaultPlan]) -> Broken {
    let aimed_at_it = plans.iter().any(|plan| {
        let calls = plan.calls();
        plan.hits().iter().any(|(k, fault)| *fault == Fault::VmmDies && calls[*k].vm == Some(vm))
    });
    let is = imprint(&world.host, vm);
    let same = if aimed_at_it { is.root == witness.root && is.data == witness.data } else { is == *witness };
    if same { Ok(()) } else { Err(format!("INV-11: the bystander was {witness:?} and is {is:?}")) }
}

fn steps(plan: &FaultPlan, bystander: VmId) -> usize {
    use minions_core::layers::CallKind;
    let calls = plan.calls();
    let changes =
        calls.iter().filter(|call| call.kind == CallKind::Change && call.vm.is_some_and(|vm| vm != bystander));
    changes.count()
}

/// Calls about the bystander are the same in every case: they go wrong in one of them only.
fn of_interest(calls: Vec<Call>, bystander: VmId) -> Calls {
    calls.into_iter().enumerate().filter(|(_, call)| call.vm != Some(bystander)).collect()
}
