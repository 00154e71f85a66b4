//! What is done to a VM, and in what state it is before.

use minions_core::Result;
use minions_core::api::v1;
use minions_core::layers::FaultPlan;
use minions_core::memory::GuestBehaviour;
use minions_core::service::{ControlPlane, IdempotencyKey, VmAction, VmRef};
use minions_core::types::{ByteSize, EventSeq, OperationVerb, Vcpus, VmId, VolumeId};

use crate::world::{Daemon, World, me, new_vm, settle};

/// What state the VM is in when the operation comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Before {
    /// There is none.
    Absent,
    /// It runs.
    Running,
    /// It is stopped.
    Stopped,
    /// Its start was given up.
    Failed,
    /// It is stopped, and someone took its data disk away.
    Lost,
    /// Its create was accepted, and the daemon ended at once.
    Creating,
    /// Its destroy was accepted, and the daemon ended at once.
    Deleting,
    /// It was destroyed, and left its data disk.
    Kept,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Create,
    Start,
    Stop,
    ForceStop,
    Restart,
    Destroy,
    Rename,
    Resize,
    /// Larger disks.
    Grow,
    Rebase,
    DestroyKeep,
    /// Another VM is created with the data disk that one has left.
    TakeOver,
    DeleteDisk,
    /// Two at once: the later one wins.
    StopThenStart,
    /// Two at once: absence wins.
    StartThenDestroy,
}

impl Op {
    /// The verb of the request that comes last.
    pub fn verb(self) -> OperationVerb {
        match self {
            Self::Create | Self::TakeOver => OperationVerb::Create,
            Self::Rebase => OperationVerb::Rebase,
            Self::DeleteDisk => OperationVerb::DeleteDisk,
            Self::Start | Self::StopThenStart => OperationVerb::Start,
            Self::Stop | Self::ForceStop => OperationVerb::Stop,
            Self::Restart => OperationVerb::Restart,
            Self::Destroy | Self::DestroyKeep | Self::StartThenDestroy => OperationVerb::Destroy,
            Self::Rename => OperationVerb::Rename,
            Self::Resize | Self::Grow => OperationVerb::Resize,
        }
    }
}

/// Every pair that the admission table lets through.
pub const PAIRS: &[(Op, Before)] = &[
    (Op::Create, Before::Absent),
    (Op::Start, Before::Stopped),
    (Op::Start, Before::Running),
    (Op::Start, Before::Failed),
    (Op::Stop, Before::Running),
    (Op::Stop, Before::Stopped),
    (Op::Stop, Before::Creating),
    (Op::ForceStop, Before::Running),
    (Op::ForceStop, Before::Failed),
    (Op::Restart, Before::Running),
    (Op::Restart, Before::Failed),
    (Op::Destroy, Before::Running),
    (Op::Destroy, Before::Stopped),
    (Op::Destroy, Before::Failed),
    (Op::Start, Before::Lost),
    (Op::Destroy, Before::Lost),
    (Op::Destroy, Before::Creating),
    (Op::Destroy, Before::Deleting),
    (Op::Rename, Before::Running),
    (Op::Rename, Before::Stopped),
    (Op::Resize, Before::Running),
    (Op::Resize, Before::Stopped),
    (Op::Grow, Before::Running),
    (Op::Grow, Before::Stopped),
    (Op::Rebase, Before::Running),
    (Op::Rebase, Before::Stopped),
    (Op::Rebase, Before::Failed),
    (Op::DestroyKeep, Before::Running),
    (Op::DestroyKeep, Before::Stopped),
    (Op::TakeOver, Before::Kept),
    (Op::DeleteDisk, Before::Kept),
    (Op::StopThenStart, Before::Running),
    (Op::StartThenDestroy, Before::Stopped),
];

/// What there is before the operation comes.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    /// The VM, where there is one.
    pub vm: Option<VmId>,
    /// The last event of its preparation.
    pub mark: EventSeq,
}

/// Brings the VM into its state, through the front door.
pub async fn prepare(world: &World, before: Before) -> Prepared {
    let none = FaultPlan::none();
    let daemon = world.boot(&none).await.unwrap();
    // A bystander that nothing may happen to.
    let bystander = daemon.plane.create(&me(), &new_vm("bystander"), None).await.unwrap();
    let bystander = settle(&daemon, bystander).await.vm;
    for volume in [VolumeId::root(bystander), VolumeId::data(bystander)] {
        world.host.write_volume(volume, b"the bystander's own").unwrap();
    }
    let mut vm = None;
    if before != Before::Absent {
        let created = daemon.plane.create(&me(), &new_vm("web"), None).await.unwrap();
        vm = Some(created.vm);
        if before != Before::Creating {
            settle(&daemon, created).await;
        }
    }
    if let (Some(id), Before::Stopped | Before::Failed | Before::Lost | Before::Kept) = (vm, before) {
        for volume in [VolumeId::root(id), VolumeId::data(id)] {
            world.host.write_volume(volume, b"web's own").unwrap();
        }
        let stopped = act(&daemon, &VmAction::Stop(v1::StopVm { force: true, grace_ms: None }), None).await.unwrap();
        settle(&daemon, stopped).await;
    }
    if let (Some(id), Before::Failed) = (vm, before) {
        world
            .host
            .behave(id, |guest: &mut GuestBehaviour| guest.start_fails = Some(minions_core::ErrorKind::Unsupported));
        let started = act(&daemon, &VmAction::Start(v1::StartVm {}), None).await.unwrap();
        let started = settle(&daemon, started).await;
        assert!(matches!(started.outcome, v1::OperationOutcome::Failed { .. }), "{started:?}");
        world.host.behave(id, |guest: &mut GuestBehaviour| guest.start_fails = None);
    }
    if before == Before::Kept {
        let keep = VmAction::Destroy(v1::DestroyVm { keep_data: true });
        let destroyed = act(&daemon, &keep, None).await.unwrap();
        settle(&daemon, destroyed).await;
    }
    if before == Before::Deleting {
        act(&daemon, &VmAction::Destroy(v1::DestroyVm::default()), None).await.unwrap();
    }
    if !matches!(before, Before::Creating | Before::Deleting) {
        daemon.converge().await.unwrap();
    }
    let mark = daemon.last_event();
    world.crash(daemon).await;
    if let (Some(id), Before::Lost) = (vm, before) {
        assert!(world.host.remove_volume(VolumeId::data(id)));
    }
    Prepared { vm, mark }
}

pub async fn act(daemon: &Daemon, action: &VmAction, key: Option<&IdempotencyKey>) -> Result<v1::Operation> {
    daemon.plane.act(&me(), &VmRef::Name("web".parse().unwrap()), action, key).await
}

/// Asks for it. Returns what was acknowledged last.
pub async fn ask(daemon: &Daemon, op: Op, key: Option<&IdempotencyKey>) -> Result<v1::Operation> {
    let left = || daemon.vms().iter().find(|row| row.deleted.is_some()).map(|row| row.id);
    let start = VmAction::Start(v1::StartVm {});
    let stop = |force| VmAction::Stop(v1::StopVm { force, grace_ms: Some(2_000) });
    let destroy = VmAction::Destroy(v1::DestroyVm::default());
    // Who asks again asks for both again.
    let earlier = key.map(|_| "the-earlier-key".parse().unwrap());
    match op {
        Op::Create => daemon.plane.create(&me(), &new_vm("web"), key).await,
        Op::Start => act(daemon, &start, key).await,
        Op::TakeOver => {
            let request = v1::CreateVm { data_from: left(), data_disk: None, ..new_vm("web") };
            daemon.plane.create(&me(), &request, key).await
        }
        Op::DeleteDisk => {
            let disk = VmRef::Id(left().unwrap());
            daemon.plane.act(&me(), &disk, &VmAction::DeleteDisk(v1::DeleteDisk {}), key).await
        }
        Op::Grow => {
            let size = Some(ByteSize::gib(3));
            let grow = v1::ResizeVm { disk: size, data_disk: size, ..v1::ResizeVm::default() };
            act(daemon, &VmAction::Resize(grow), key).await
        }
        Op::Rebase => act(daemon, &VmAction::Rebase(v1::RebaseVm::default()), key).await,
        Op::DestroyKeep => act(daemon, &VmAction::Destroy(v1::DestroyVm { keep_data: true }), key).await,
        Op::Stop => act(daemon, &stop(false), key).await,
        Op::ForceStop => act(daemon, &stop(true), key).await,
        Op::Restart => act(daemon, &VmAction::Restart(v1::RestartVm {}), key).await,
        Op::Destroy => act(daemon, &destroy, key).await,
        Op::Rename => act(daemon, &VmAction::Rename(v1::RenameVm { name: "shop".parse().unwrap() }), key).await,
        Op::Resize => {
            let resize =
                v1::ResizeVm { cpus: Some(Vcpus(4)), memory: Some(ByteSize::mib(512)), ..v1::ResizeVm::default() };
            act(daemon, &VmAction::Resize(resize), key).await
        }
        Op::StopThenStart => {
            act(daemon, &stop(true), earlier.as_ref()).await?;
            act(daemon, &start, key).await
        }
        Op::StartThenDestroy => {
            act(daemon, &start, earlier.as_ref()).await?;
            act(daemon, &destroy, key).await
        }
    }
}
