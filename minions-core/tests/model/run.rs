//! Carries commands out on a real service over a simulated host, next to what should be.

use std::borrow::Cow;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use minions_core::api::v1;
use minions_core::env::{Clock, Env, ManualClock, SeededIds};
use minions_core::hypervisor::VmmPhase;
use minions_core::layers::FaultPlan;
use minions_core::service::{Caller, ControlPlane, IdempotencyKey, Quota, ServiceConfig, VmAction, VmRef};
use minions_core::store::LeasePool;
use minions_core::types::{AddressPool, ByteSize, UnixMillis, Vcpus, VmId, VolumeId};
use minions_core::{Error, ErrorKind, Result as Outcome};

use crate::command::{Ask, Command, NAMES, TENANTS, Target};
use crate::reference::{Answer, Op, QUOTA, Reference, Vm, Want};
use crate::world::{Daemon, LONG, World, new_vm};

pub type Broken = Result<(), String>;

/// Exactly as much as the live VMs can need: what is not given back is missed at once.
const POOL: LeasePool = LeasePool {
    addresses: Cow::Borrowed(&[AddressPool {
        first: Ipv4Addr::new(10, 200, 0, 2),
        last: Ipv4Addr::new(10, 200, 0, 1 + NAMES.len() as u8),
    }]),
    uid_count: NAMES.len() as u32,
    ..crate::world::POOL
};

/// Tokio's time, and a wall clock that jumps.
#[derive(Debug)]
struct JumpingClock {
    real: ManualClock,
    ahead: Arc<AtomicU64>,
}

impl Clock for JumpingClock {
    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
    fn wall(&self) -> UnixMillis {
        UnixMillis(self.real.wall().0 + self.ahead.load(Ordering::Relaxed))
    }
}

/// A request, so that it can be repeated.
#[derive(Clone, Debug)]
enum Request {
    Create { who: usize, name: usize },
    Act { who: usize, vm: VmRef, action: VmAction },
}

pub struct Run {
    pub world: World,
    pub daemon: Option<Daemon>,
    pub model: Reference,
    pub plan: FaultPlan,
    clock: Arc<dyn Clock>,
    ahead: Arc<AtomicU64>,
    keys: u32,
    /// Whether the last operation was acknowledged after the host lost its power last.
    fresh: bool,
    last: Option<(Request, IdempotencyKey, v1::Operation)>,
}

pub fn caller(who: usize) -> Caller {
    Caller::tenant(TENANTS[who])
}

/// Runs the commands, and then lets everything come to rest. The error says which promise is broken.
pub async fn run(seed: u64, commands: &[Command], tell: bool) -> Broken {
    let mut run = Run::new(seed).await;
    for (turn, command) in commands.iter().enumerate() {
        if tell {
            println!("{turn}: {command:?}");
        }
        let done = run.command(*command).await;
        done.map_err(|broken| format!("{broken}\n    at command {turn}, {command:?}"))?;
    }
    run.rest().await.map_err(|broken| format!("{broken}\n    at the end"))?;
    if let Some(daemon) = run.daemon.take() {
        run.world.crash(daemon).await;
    }
    Ok(())
}

impl Run {
    async fn new(seed: u64) -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let clock: Arc<dyn Clock> = Arc::new(JumpingClock { real: ManualClock::new(), ahead: ahead.clone() });
        let env = Env { clock: clock.clone(), ids: Arc::new(SeededIds::new(seed)) };
        let quota = Quota { vms: QUOTA, ..Quota::default() };
        let world = World::with(env, POOL, ServiceConfig { quota, ..ServiceConfig::default() }).await;
        let plan = FaultPlan::none();
        let daemon = world.boot(&plan).await;
        Self { world, daemon, model: Reference::default(), plan, clock, ahead, keys: 0, fresh: false, last: None }
    }

    pub fn daemon(&self) -> Result<&Daemon, String> {
        self.daemon.as_ref().ok_or_else(|| "LIV-3: the daemon does not start".to_owned())
    }

    fn now(&self) -> u64 {
        self.clock.wall().0
    }

    async fn command(&mut self, command: Command) -> Broken {
        match command {
            Command::Create { who, name } => self.ask(Request::Create { who, name }, None).await?,
            Command::Act { who, target, ask } => self.act(who, target, ask).await?,
            Command::Again => self.again().await?,
            Command::Look { who, target } => self.look(who, target).await?,
            Command::Await => self.await_last().await?,
            Command::Pass(ms) => {
                let plan = self.plan.clone();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                    () = plan.crashed() => {}
                }
            }
            Command::NextDay => {
                self.ahead.fetch_add(25 * 3_600 * 1_000, Ordering::Relaxed);
            }
            Command::Rest => self.rest().await?,
            Command::Write(n) => self.write(n),
            Command::Crash(fault) => {
                let plan = fault.map_or_else(FaultPlan::none, |(k, fault)| FaultPlan::at(k, fault));
                self.restart(plan).await;
            }
            Command::Reboot => {
                if let Some(daemon) = self.daemon.take() {
                    self.world.crash(daemon).await;
                }
                self.world.host.reboot();
                self.fresh = false;
                self.model.vms.values_mut().for_each(|vm| vm.pid = None);
                self.restart(FaultPlan::none()).await;
            }
            Command::KillMonitor(n) => self.kill(n),
            Command::RemovePort(n) => self.meddle(n, |host, vm| host.remove_port(vm)),
            Command::RemoveRules(n) => self.meddle(n, |host, vm| host.remove_rules(vm)),
            Command::RemoveData(n) => self.remove_data(n),
        }
        self.revive().await;
        self.follow()?;
        self.always()
    }

    /// The daemon ends wherever it is, and another one is started.
    async fn restart(&mut self, plan: FaultPlan) {
        if let Some(daemon) = self.daemon.take() {
            self.world.crash(daemon).await;
        }
        self.plan = plan;
        self.daemon = self.world.boot(&self.plan).await;
        self.revive().await;
    }

    /// Starts the daemon again if it has crashed.
    async fn revive(&mut self) {
        if !self.plan.has_crashed() && self.daemon.is_some() {
            return;
        }
        if let Some(daemon) = self.daemon.take() {
            self.world.crash(daemon).await;
        }
        self.plan = FaultPlan::none();
        self.daemon = self.world.boot(&self.plan).await;
    }

    /// Unless the daemon crashes first.
    pub async fn unless_crashed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.plan.crashed() => None,
        }
    }

    pub fn follow(&mut self) -> Broken {
        let rows = self.daemon()?.vms();
        self.model.follow(&rows)
    }

    async fn act(&mut self, who: usize, target: Target, ask: Ask) -> Broken {
        let vm = match target {
            Target::Named(name) => VmRef::Name(NAMES[name].parse().unwrap()),
            Target::Nth(n) => match self.model.nth(n) {
                Some(id) => VmRef::Id(id),
                None => return Ok(()),
            },
        };
        let action = match ask {
            Ask::Start => VmAction::Start(v1::StartVm {}),
            Ask::Stop { force } => VmAction::Stop(v1::StopVm { force, grace_ms: (!force).then_some(2_000) }),
            Ask::Restart => VmAction::Restart(v1::RestartVm {}),
            Ask::Destroy => VmAction::Destroy(v1::DestroyVm::default()),
            Ask::Rename(name) => VmAction::Rename(v1::RenameVm { name: NAMES[name].parse().unwrap() }),
            Ask::Resize { cpus, mib } => VmAction::Resize(v1::ResizeVm {
                cpus: Some(Vcpus(cpus)),
                memory: Some(ByteSize::mib(mib)),
                ..v1::ResizeVm::default()
            }),
            Ask::Rebase => VmAction::Rebase(v1::RebaseVm::default()),
            Ask::Grow { data, mib } => {
                // Larger than what is known of it: what nobody may see is refused before its size matters.
                let known = self.model.seen_by(who, target).map_or([1_024; 2], |vm| vm.sizes);
                let size = Some(ByteSize::mib(known[usize::from(data)] + mib));
                let (disk, data_disk) = if data { (None, size) } else { (size, None) };
                VmAction::Resize(v1::ResizeVm { disk, data_disk, ..v1::ResizeVm::default() })
            }
        };
        self.ask(Request::Act { who, vm, action }, Some((target, ask))).await
    }

    async fn call(&self, request: &Request, key: &IdempotencyKey) -> Result<Option<Outcome<v1::Operation>>, String> {
        let plane = &self.daemon()?.plane;
        let call = async {
            match request {
                Request::Create { who, name } => plane.create(&caller(*who), &new_vm(NAMES[*name]), Some(key)).await,
                Request::Act { who, vm, action } => plane.act(&caller(*who), vm, action, Some(key)).await,
            }
        };
        Ok(self.unless_crashed(call).await)
    }

    /// Asks until there is an answer, with one key, as a careful client does.
    async fn answer(&mut self, request: &Request, key: &IdempotencyKey) -> Result<Outcome<v1::Operation>, String> {
        for _ in 0..4 {
            match self.call(request, key).await? {
                Some(Err(error)) if worth_another_try(&error) && !self.plan.hits().is_empty() => {}
                Some(answer) => return Ok(answer),
                None => self.revive().await,
            }
        }
        Err("LIV-4: a request is never answered".to_owned())
    }

    async fn ask(&mut self, request: Request, change: Option<(Target, Ask)>) -> Broken {
        self.follow()?;
        self.keys += 1;
        let key: IdempotencyKey = format!("key-{}", self.keys).parse().unwrap();
        let before = self.now();
        let due = self.due(&request, change, before);
        let answer = self.answer(&request, &key).await?;
        let fits = |due: &[(Answer, Option<Vm>)]| due.iter().find(|(due, _)| matches(*due, &answer)).cloned();
        let Some((_, next)) = fits(&due).or_else(|| {
            // What the service does on its own may have come between.
            self.follow_others(&request, &answer);
            fits(&self.due(&request, change, self.now()))
        }) else {
            return Err(format!("INV-12: due was one of {due:?}, the answer is {answer:?}"));
        };
        let Ok(operation) = answer else { return Ok(()) };
        if let Some(next) = next {
            if operation.vm != next.id {
                return Err(format!("INV-12: {operation:?} is not about {}", next.id));
            }
            self.model.vms.insert(next.id, next);
        } else if let Request::Create { who, name } = request {
            if self.model.vms.contains_key(&operation.vm) {
                return Err(format!("INV-4: the id {} is used again", operation.vm));
            }
            self.model.created(operation.vm, who, name);
        }
        // INV-4: durable when it is acknowledged.
        self.follow()?;
        let who = match request {
            Request::Create { who, .. } | Request::Act { who, .. } => who,
        };
        let generation = self.model.vms[&operation.vm].generation;
        self.model.ops.push(Op { id: operation.id, verb: operation.verb, vm: operation.vm, who, generation });
        self.last = Some((request, key, operation));
        self.fresh = true;
        Ok(())
    }

    fn due(&self, request: &Request, change: Option<(Target, Ask)>, now: u64) -> Vec<(Answer, Option<Vm>)> {
        match (request, change) {
            (Request::Create { who, name }, _) => {
                self.model.create(*who, *name, now).into_iter().map(|answer| (answer, None)).collect()
            }
            (Request::Act { who, .. }, Some((target, ask))) => vec![self.model.change(*who, target, ask, now)],
            (Request::Act { .. }, None) => Vec::new(),
        }
    }

    /// Follows the rows that the request itself has not changed.
    fn follow_others(&mut self, request: &Request, answer: &Outcome<v1::Operation>) {
        let own = answer.as_ref().ok().map(|operation| operation.vm);
        let Some(daemon) = &self.daemon else { return };
        let changed = |id: VmId| own == Some(id) && !matches!(request, Request::Create { .. });
        for row in daemon.vms() {
            if let Some(vm) = self.model.vms.get_mut(&row.id).filter(|vm| !changed(vm.id)) {
                // What does not fit is told by the next look at all of them.
                let _ = vm.follow(&row);
            }
        }
    }

    /// INV-8: the same key, the same operation, no second effect.
    async fn again(&mut self) -> Broken {
        let Some((request, key, operation)) = self.last.clone() else { return Ok(()) };
        let answer = self.answer(&request, &key).await?;
        match answer {
            Ok(same) if same.id == operation.id && same.vm == operation.vm => Ok(()),
            other => Err(format!("INV-8: {operation:?} was repeated, and the answer is {other:?}")),
        }
    }

    /// INV-12: a name leads to the VM that has it now, and only its owner.
    async fn look(&mut self, who: usize, target: Target) -> Broken {
        let vm = match target {
            Target::Named(name) => VmRef::Name(NAMES[name].parse().unwrap()),
            Target::Nth(n) => match self.model.nth(n) {
                Some(id) => VmRef::Id(id),
                None => return Ok(()),
            },
        };
        self.follow()?;
        let Some(seen) = self.unless_crashed(self.daemon()?.plane.vm(&caller(who), &vm)).await else {
            return Ok(());
        };
        self.follow()?;
        let due = self.model.seen_by(who, target).map(|vm| vm.id);
        match (seen, due) {
            (Ok(seen), Some(due)) if seen.id == due => Ok(()),
            (Err(error), None) if error.kind() == ErrorKind::NotFound => Ok(()),
            (Err(error), _) if worth_another_try(&error) && !self.plan.hits().is_empty() => Ok(()),
            (seen, due) => Err(format!("INV-12: {who} shall see {due:?} at {target:?}, and sees {seen:?}")),
        }
    }

    /// Waits for the end of the last operation, and checks what its success says.
    async fn await_last(&mut self) -> Broken {
        let Some(op) = self.model.ops.last().copied() else { return Ok(()) };
        let plane = self.daemon()?.plane.clone();
        let ended = self.unless_crashed(plane.operation(&caller(op.who), op.id, LONG)).await;
        let Some(Ok(ended)) = ended else { return Ok(()) };
        self.follow()?;
        match ended.outcome {
            v1::OperationOutcome::Pending => Err(format!("LIV-4: {op:?} never ends")),
            v1::OperationOutcome::Succeeded if self.fresh => self.at_success(op),
            _ => Ok(()),
        }
    }

    fn write(&mut self, n: usize) {
        let Some(vm) = self.model.nth(n).and_then(|id| self.model.vms.get_mut(&id)) else { return };
        for (volume, known) in vm.disks().into_iter().zip(&mut vm.bytes) {
            if known.is_some() && self.world.host.write_volume(volume, vm.id.to_string().as_bytes()).is_ok() {
                *known = self.world.host.fingerprint(volume);
            }
        }
    }

    fn kill(&mut self, n: usize) {
        let Some(vm) = self.model.nth(n).and_then(|id| self.model.vms.get_mut(&id)) else { return };
        let phase = self.world.census().monitor(vm.id).map(|monitor| monitor.phase);
        if self.world.host.kill_vmm(vm.id) {
            vm.excuses.kills += 1;
            // One that dies while it is being started is a start that failed.
            vm.excuses.meddled |= phase != Some(VmmPhase::Running);
            vm.disturbed = true;
            vm.pid = None;
        }
    }

    fn meddle(&mut self, n: usize, change: impl FnOnce(&minions_core::memory::InMemoryHost, VmId) -> bool) {
        let Some(vm) = self.model.nth(n).and_then(|id| self.model.vms.get_mut(&id)) else { return };
        if change(&self.world.host, vm.id) {
            vm.disturbed = true;
            // Under work, it is as if that failed.
            let running = self.daemon.as_ref().is_some_and(|daemon| !daemon.node.engine().is_idle());
            vm.excuses.meddled |= running;
        }
    }

    fn remove_data(&mut self, n: usize) {
        let Some(vm) = self.model.nth(n).and_then(|id| self.model.vms.get_mut(&id)) else { return };
        if vm.want != Want::Absent && self.world.host.remove_volume(VolumeId::data(vm.id)) {
            vm.disturbed = true;
            vm.excuses.volume = true;
            vm.data_taken = vm.bytes[1].is_some();
            let running = self.daemon.as_ref().is_some_and(|daemon| !daemon.node.engine().is_idle());
            vm.excuses.meddled |= running;
        }
    }

    /// Everything comes to rest, and then everything that was promised must be.
    pub async fn rest(&mut self) -> Broken {
        for _ in 0..3 {
            let daemon = self.daemon()?;
            let rested = async {
                daemon.converge().await?;
                // What happened behind the daemon's back is found by the sweep and the resync.
                tokio::time::sleep(Duration::from_secs(300)).await;
                daemon.converge().await
            };
            if let Some(rested) = self.unless_crashed(rested).await {
                rested?;
                self.follow()?;
                if self.at_rest().await? {
                    return Ok(());
                }
            }
            self.revive().await;
        }
        Err("LIV-1: the daemon crashes for ever".to_owned())
    }
}

fn worth_another_try(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded)
}

fn matches(due: Answer, answer: &Outcome<v1::Operation>) -> bool {
    match (due, answer) {
        (Answer::Accepted, Ok(_)) => true,
        (Answer::Refused(kind, reason), Err(error)) => {
            error.kind() == kind && error.reason().unwrap_or_default() == reason
        }
        _ => false,
    }
}
