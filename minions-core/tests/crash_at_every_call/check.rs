//! What must hold: at the moment of an acknowledgement, and when everything has come to rest.

use minions_core::api::v1;
use minions_core::hypervisor::VmmPhase;
use minions_core::memory::Census;
use minions_core::store::{JournalRow, Outcome, VmRow};
use minions_core::types::{ByteSize, EventSeq, Goal, VmId, VmState, VolumeId};

use crate::ops::{Before, Op};
use crate::world::{BOOT, Daemon, Imprint, TOLD, World, imprint};

pub type Broken = Result<(), String>;

fn hold(holds: bool, what: impl FnOnce() -> String) -> Broken {
    if holds { Ok(()) } else { Err(what()) }
}

/// A live monitor with everything that belongs to it.
fn runs(census: &Census, row: &VmRow, epoch: u64) -> Broken {
    let vm = row.id;
    let monitor = census.monitor(vm).ok_or("INV-9: it is said to run, and has no monitor")?;
    hold(monitor.phase == VmmPhase::Running && monitor.epoch == epoch, || {
        format!("INV-9: it is said to run at epoch {epoch}, and its monitor is {monitor:?}")
    })?;
    let disks: Vec<VolumeId> = std::iter::once(row.spec.root_volume(vm)).chain(row.spec.data_volume(vm)).collect();
    hold(monitor.volumes == disks, || format!("INV-9: it is said to run, with {:?}", monitor.volumes))?;
    let port = census.ports.iter().find(|port| port.config.id == vm);
    hold(port.is_some_and(|port| port.up && port.pinned), || {
        "INV-10: it is said to run without a pinned port".to_owned()
    })
}

/// At the moment at which someone is told that an operation has succeeded.
pub fn at_success(world: &World, row: &VmRow, operation: &v1::Operation) -> Broken {
    let census = world.census();
    let vm = operation.vm;
    let superseded = row.generation > row.settled;
    use minions_core::types::OperationVerb as V;
    match operation.verb {
        V::Resize if !superseded && matches!(row.goal, Goal::Running { .. }) && row.failure.is_none() => {
            let shown = census.monitor(vm).map(|monitor| monitor.shown.clone());
            let wanted: Vec<_> = std::iter::once(row.spec.root).chain(row.spec.data).collect();
            hold(shown.as_ref() == Some(&wanted), || format!("INV-7: grown was acknowledged, and it sees {shown:?}"))
        }
        V::Create | V::Start | V::Restart | V::Rebase if !superseded => {
            let Goal::Running { epoch } = row.goal else { return Ok(()) };
            runs(&census, row, epoch)?;
            let since = census.monitor(vm).map_or(u64::MAX, |monitor| monitor.since.0);
            let booted = u128::from(world.now().saturating_sub(since)) >= BOOT.as_millis();
            hold(booted, || "INV-9: running was acknowledged before the guest could have proven itself".to_owned())
        }
        V::Stop if !superseded && matches!(row.goal, Goal::Stopped { .. }) => {
            hold(census.monitor(vm).is_none(), || "INV-9: stopped was acknowledged with a process alive".to_owned())
        }
        V::Destroy | V::DeleteDisk => nothing_left(&census, vm, keeps(row)),
        _ => Ok(()),
    }
}

/// Whoever waits for an operation hears of its end then, and not when their own patience ends.
pub fn heard_soon(world: &World, operation: &v1::Operation) -> Broken {
    let ended = operation.ended.ok_or("LIV-4: an hour has gone by, and nobody was told of an end")?;
    let late = world.now().saturating_sub(ended.0);
    hold(u128::from(late) <= TOLD.as_millis(), || format!("LIV-4: the end was told {late} ms after it had come"))
}

/// Whether its data disk is to be there when it is gone.
fn keeps(row: &VmRow) -> bool {
    row.goal == Goal::Absent { keep_data: true } && row.spec.data_from.is_none()
}

/// Nothing but, where it was to be kept, the data disk.
fn nothing_left(census: &Census, vm: VmId, keeps: bool) -> Broken {
    let mut rest = census.clone();
    if keeps {
        let data = VolumeId::data(vm);
        hold(census.volume(data).is_some_and(|volume| volume.whole), || "INV-6: the data disk was to stay".to_owned())?;
        rest.volumes.retain(|volume| volume.id != data);
    }
    hold(!rest.holds(vm), || format!("INV-1: something of a destroyed VM is left: {census:?}"))
}

/// When everything has come to rest.
pub fn at_rest(world: &World, daemon: &Daemon) -> Broken {
    let census = world.census();
    let rows = daemon.rows();
    let vms = daemon.vms();
    hold(census.offences.is_empty(), || format!("INV-3: {:?}", census.offences))?;
    hold(!census.volumes.iter().any(|volume| volume.quarantined), || "rule 5: something is in quarantine".to_owned())?;
    let known = |vm: VmId| rows.iter().any(|row| row.entry.vm == vm);
    let wanted = |id: VolumeId| {
        let own = |row: &JournalRow| {
            let (vm, spec) = (row.entry.vm, &row.entry.spec);
            // One that was given up may have left the root disk that another one was to replace.
            let old = row.outcome.as_ref().is_some_and(|outcome| *outcome != Outcome::Met) && id.turn < spec.root_turn;
            spec.root_volume(vm) == id
                || spec.data_volume(vm) == Some(id)
                || (old && id == VolumeId::root(vm).at(id.turn))
        };
        rows.iter().any(own) || vms.iter().any(|row| row.kept && VolumeId::data(row.id) == id)
    };
    for volume in &census.volumes {
        hold(wanted(volume.id), || format!("INV-1: nobody explains the volume {}", volume.id))?;
        hold(volume.whole, || format!("INV-1: the volume {} was left unfinished", volume.id))?;
        hold(census.openers(volume.id) <= 1, || format!("INV-3: several have {} open", volume.id))?;
    }
    let others = census.monitors.iter().map(|monitor| monitor.id);
    let others = others.chain(census.ports.iter().map(|port| port.config.id));
    for vm in others.chain(census.doors.iter().map(|door| door.id)).chain(census.residues.iter().copied()) {
        hold(known(vm), || format!("INV-1: nobody explains what is left of {vm}"))?;
    }
    unique("CID", rows.iter().map(|row| u64::from(row.lease.cid.get())))?;
    unique("IP", rows.iter().map(|row| u64::from(u32::from(row.lease.ip))))?;
    unique("uid", rows.iter().map(|row| u64::from(row.lease.uid)))?;
    let live: Vec<&VmRow> = vms.iter().filter(|row| row.deleted.is_none()).collect();
    let mut names: Vec<_> = live.iter().map(|row| &row.name).collect();
    names.sort();
    hold(names.windows(2).all(|pair| pair[0] != pair[1]), || "INV-2: two VMs have one name".to_owned())?;

    for row in &vms {
        let journal = rows.iter().find(|journal| journal.entry.vm == row.id);
        if row.deleted.is_some() {
            hold(journal.is_none(), || "INV-1: a tombstone with a lease".to_owned())?;
            let taken = vms.iter().any(|other| other.deleted.is_none() && other.spec.data_from == Some(row.id));
            nothing_left(&census, row.id, row.kept || taken)?;
            continue;
        }
        let journal = journal.ok_or_else(|| format!("INV-4: {} is not on its host any more", row.id))?;
        hold(journal.entry.generation == row.generation && journal.entry.goal == row.goal, || {
            format!("INV-13: the host has {:?}, the fleet {row:?}", journal.entry)
        })?;
        let given_up = matches!(journal.outcome, Some(Outcome::GivenUp { .. }));
        hold(given_up == row.failure.is_some(), || {
            format!("INV-7: given up on one side only: {:?} and {:?}", journal.outcome, row.failure)
        })?;
        let state = daemon.node.engine().board().get(row.id).map(|report| report.state);
        match row.goal {
            _ if given_up => {
                hold(state == Some(VmState::Failed), || format!("INV-9: given up, but said to be {state:?}"))?;
                hold(census.monitor(row.id).is_none(), || "INV-7: given up, and half of it is left".to_owned())?;
            }
            Goal::Running { epoch } => {
                hold(state == Some(VmState::Running), || format!("LIV-1: shall run, and is {state:?}"))?;
                runs(&census, row, epoch)?;
                noted(journal)?;
                let heard = census.doors.iter().any(|door| door.id == row.id && door.listening);
                hold(heard, || "INV-9: it runs, and nobody listens at its door".to_owned())?;
            }
            Goal::Stopped { .. } => {
                hold(state == Some(VmState::Stopped), || format!("LIV-1: shall be stopped, and is {state:?}"))?;
                let disks = std::iter::once(row.spec.root_volume(row.id)).chain(row.spec.data_volume(row.id));
                let whole = disks.into_iter().all(|disk| census.volume(disk).is_some());
                let process = census.monitor(row.id).is_some();
                hold(whole && !process, || format!("INV-7: half a VM is called stopped: {census:?}"))?;
                noted(journal)?;
            }
            Goal::Absent { .. } => return Err(format!("LIV-2: {} is never destroyed", row.id)),
        }
    }
    Ok(())
}

/// Without the note, a disk that is lost later would be made anew, empty.
fn noted(journal: &JournalRow) -> Broken {
    hold(journal.provisioned == Some(journal.entry.spec.root_turn), || {
        "INV-5: nobody wrote down that its disks were made".to_owned()
    })
}

fn unique(what: &str, values: impl Iterator<Item = u64>) -> Broken {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    hold(values.windows(2).all(|pair| pair[0] != pair[1]), || format!("INV-2: two VMs share one {what}"))
}

/// INV-8: asked any number of times with one key, a thing is accepted once.
pub fn once(daemon: &Daemon, op: Op, mark: EventSeq) -> Broken {
    let accepted = daemon.accepted(mark, op.verb());
    hold(accepted <= 1, || format!("INV-8: one key was accepted {accepted} times"))
}

/// Where nothing goes wrong, nothing fails.
pub fn worked(acked: Option<&v1::Operation>) -> Broken {
    let outcome = acked.map(|operation| &operation.outcome);
    hold(outcome == Some(&v1::OperationOutcome::Succeeded), || {
        format!("INV-7: nothing went wrong, and it ended as {outcome:?}")
    })
}

/// What the VM shall have become, given what was acknowledged of the operation.
pub fn result(
    world: &World,
    daemon: &Daemon,
    case: (Op, Before),
    vm: Option<(VmId, Imprint)>,
    acked: Option<&v1::Operation>,
) -> Broken {
    let (op, before) = case;
    let vms = daemon.vms();
    let webs: Vec<&VmRow> =
        vms.iter().filter(|row| row.deleted.is_none() && matches!(row.name.as_str(), "web" | "shop")).collect();
    hold(webs.len() <= 1, || format!("INV-8: one request made {} VMs", webs.len()))?;
    let Some(operation) = acked else { return Ok(()) };
    hold(op == Op::TakeOver || vm.as_ref().is_none_or(|(vm, _)| *vm == operation.vm), || {
        "INV-12: the operation is about another VM".to_owned()
    })?;
    let row = daemon.vm(operation.vm).ok_or("INV-4: an acknowledged VM has no row")?;
    let outcome = &operation.outcome;
    hold(*outcome != v1::OperationOutcome::Pending, || "LIV-4: the operation waits for ever".to_owned())?;
    let succeeded = *outcome == v1::OperationOutcome::Succeeded;
    let gone = row.deleted.is_some();
    let running = matches!(row.goal, Goal::Running { .. });
    let ok = match op {
        Op::Create | Op::TakeOver if succeeded => !gone && running,
        // Unwound: nothing of it is left, its name and its quota included.
        Op::Create | Op::TakeOver => gone,
        Op::DestroyKeep => succeeded && gone && row.kept,
        Op::DeleteDisk => succeeded && gone && !row.kept,
        Op::Rebase => !gone && row.spec.root_turn == 1 && succeeded == row.failure.is_none(),
        Op::Grow => succeeded && [row.spec.data, Some(row.spec.root)] == [Some(ByteSize::gib(3)); 2],
        Op::Destroy | Op::StartThenDestroy => succeeded && gone,
        Op::Stop | Op::ForceStop => (succeeded && !gone && !running) || (!succeeded && before == Before::Creating),
        Op::Start | Op::Restart | Op::StopThenStart => !gone && running && succeeded == row.failure.is_none(),
        Op::Rename => succeeded && row.name.as_str() == "shop",
        Op::Resize => succeeded && row.spec.vcpus.0 == 4,
    };
    hold(ok, || format!("INV-7: {op:?} ended as {outcome:?}, and the VM is {row:?}"))?;
    if before == Before::Lost {
        let remade = world.census().volume(VolumeId::data(operation.vm)).is_some();
        hold(!remade, || "INV-5: a lost disk was made anew, empty, over its owner's head".to_owned())?;
    }
    if op == Op::Grow {
        let volumes = world.census().volumes;
        let grown = volumes.iter().filter(|volume| volume.id.vm == operation.vm);
        hold(grown.clone().count() == 2 && grown.clone().all(|volume| volume.size == ByteSize::gib(3)), || {
            format!("INV-7: larger disks were acknowledged, and there are {volumes:?}")
        })?;
    }
    // INV-5: what was kept, and is taken over or still there, has its bytes.
    if let (Some((vm, was)), Op::DestroyKeep | Op::TakeOver) = (&vm, op)
        && before != Before::Creating
    {
        let is = imprint(&world.host, *vm);
        hold(is.data == was.data, || "INV-5: the bytes of the disk that was kept are not its own any more".to_owned())?;
    }
    // INV-5, 6: the bytes of a VM that was there are its own still.
    if let (Some((vm, was)), false) = (vm, gone)
        && matches!(before, Before::Stopped | Before::Failed | Before::Running)
    {
        let is = imprint(&world.host, vm);
        // A rebase that failed at last may have come as far as to give the VM its new root disk.
        let new = world.host.fingerprint(VolumeId { turn: 1, ..VolumeId::root(vm) }).is_some();
        let root = is.root == was.root || op == Op::Rebase && new;
        hold(root && is.data == was.data, || "INV-5: its bytes are not its own any more".to_owned())?;
    }
    Ok(())
}
