//! What must hold: always, when a success is told, and when everything has come to rest.

use minions_core::api::v1;
use minions_core::hypervisor::VmmPhase;
use minions_core::memory::Census;
use minions_core::service::ControlPlane;
use minions_core::testkit::invariants;
use minions_core::types::{ByteSize, Goal, OperationVerb, VmId, VmState};

use crate::command::TENANTS;
use crate::reference::{Op, Vm, Want};
use crate::run::{Broken, Run, caller};
use crate::world::LONG;

fn hold(holds: bool, what: impl FnOnce() -> String) -> Broken {
    if holds { Ok(()) } else { Err(what()) }
}

/// A live monitor of the right epoch, with everything that belongs to it.
fn runs(census: &Census, vm: &Vm) -> Broken {
    let monitor = census.monitor(vm.id).filter(|monitor| monitor.phase == VmmPhase::Running);
    let monitor = monitor.ok_or_else(|| format!("INV-9: {} is said to run, and has no monitor that does", vm.id))?;
    hold(monitor.epoch == vm.epoch, || format!("INV-13: {} shall run at epoch {}: {monitor:?}", vm.id, vm.epoch))?;
    hold(monitor.volumes == vm.disks(), || format!("INV-9: it runs without its own disks: {monitor:?}"))?;
    let port = census.ports.iter().find(|port| port.config.id == vm.id);
    hold(port.is_some_and(|port| port.up && port.pinned), || format!("INV-10: {} runs without a port", vm.id))
}

fn nothing_left(census: &Census, vm: VmId) -> Broken {
    hold(!census.holds(vm), || format!("INV-1: something of {vm}, which was destroyed, is left: {census:?}"))
}

impl Run {
    /// After every command, also in the middle of work.
    pub fn always(&mut self) -> Broken {
        let census = self.world.census();
        let daemon = self.daemon()?;
        let reports = daemon.node.engine().board();
        let undisturbed = self.model.vms.values().filter(|vm| !vm.disturbed);
        let reported: Vec<(VmId, VmState)> =
            undisturbed.filter_map(|vm| Some((vm.id, reports.get(vm.id)?.state))).collect();
        let rows = daemon.rows();
        if let Some(first) = invariants::always(&census, &rows, &daemon.vms(), &reported).first() {
            return Err(first.to_string());
        }
        for vm in self.model.vms.values_mut() {
            let turn = rows.iter().find(|row| row.entry.vm == vm.id).and_then(|row| row.provisioned);
            vm.bytes_are_its_own(&census, turn)?;
            let monitor = census.monitor(vm.id);
            if let (Some(pid), false) = (vm.pid, vm.disturbed) {
                let now = monitor.map(|monitor| monitor.pid);
                hold(now == Some(pid), || format!("INV-11: {} had the process {pid}, and has {now:?}", vm.id))?;
            }
            if let Some(monitor) = monitor {
                hold((vm.lived..=vm.epoch).contains(&monitor.epoch), || {
                    format!("INV-13: {} lived at epoch {}, and lives at {}", vm.id, vm.lived, monitor.epoch)
                })?;
                vm.lived = monitor.epoch;
            }
        }
        Ok(())
    }

    /// At the moment at which someone is told that their operation has succeeded.
    pub fn at_success(&self, op: Op) -> Broken {
        let vm = &self.model.vms[&op.vm];
        if vm.generation != op.generation || vm.disturbed {
            return Ok(());
        }
        let census = self.world.census();
        use OperationVerb as V;
        match (op.verb, vm.want) {
            (V::Create | V::Start | V::Restart | V::Rebase, Want::Running) if !vm.failed => runs(&census, vm),
            (V::Stop, Want::Stopped { .. }) => {
                hold(census.monitor(vm.id).is_none(), || format!("INV-9: {} was stopped, and has a process", vm.id))
            }
            (V::Destroy, _) => nothing_left(&census, vm.id),
            _ => Ok(()),
        }
    }

    /// When everything has come to rest. `false` where the daemon crashed meanwhile.
    pub async fn at_rest(&mut self) -> Result<bool, String> {
        self.always()?;
        let census = self.world.census();
        let rows = self.daemon()?.rows();
        hold(!census.volumes.iter().any(|volume| volume.quarantined), || {
            format!("rule 5: something is in quarantine: {census:?}")
        })?;
        let live = self.model.vms.values().filter(|vm| vm.deleted.is_none()).count();
        hold(rows.len() == live, || format!("INV-1: {live} VMs, and these leases: {rows:?}"))?;
        let vms: Vec<Vm> = self.model.vms.values().cloned().collect();
        for vm in &vms {
            self.vm_at_rest(vm, &census).await?;
            let running = vm.want == Want::Running && !vm.failed && vm.deleted.is_none();
            let pid = census.monitor(vm.id).filter(|_| running).map(|monitor| monitor.pid);
            if let Some(vm) = self.model.vms.get_mut(&vm.id) {
                vm.pid = pid;
                vm.disturbed = false;
                vm.creating = false;
                vm.may_heal = false;
                vm.excuses.meddled = false;
            }
        }
        let ops = std::mem::take(&mut self.model.ops);
        let Some(ended) = self.unless_crashed(self.ops_have_ended(&ops, &vms)).await else {
            self.model.ops = ops;
            return Ok(false);
        };
        ended?;
        for (who, tenant) in TENANTS.iter().enumerate() {
            let mut due: Vec<VmId> =
                vms.iter().filter(|vm| vm.owner == who && vm.deleted.is_none()).map(|vm| vm.id).collect();
            due.sort_unstable();
            let plane = self.daemon()?.plane.clone();
            let page = self.unless_crashed(plane.vms(&caller(who), &v1::ListVms::default())).await;
            let Some(page) = page else { return Ok(false) };
            let Ok(page) = page else { continue };
            let seen: Vec<VmId> = page.vms.iter().map(|vm| vm.id).collect();
            hold(seen == due, || format!("INV-12: {tenant} has {due:?}, and sees {seen:?}"))?;
        }
        Ok(true)
    }

    async fn vm_at_rest(&self, vm: &Vm, census: &Census) -> Broken {
        if vm.deleted.is_some() {
            return nothing_left(census, vm.id);
        }
        let daemon = self.daemon()?;
        let row = daemon.rows().into_iter().find(|row| row.entry.vm == vm.id);
        let row = row.ok_or_else(|| format!("INV-4: {vm:?} is not on its host any more"))?;
        hold(row.entry.generation.0 == vm.generation, || format!("INV-13: {vm:?}, and its host has {row:?}"))?;
        let running = matches!(row.entry.goal, Goal::Running { epoch } if epoch == vm.epoch);
        hold(running == (vm.want == Want::Running), || format!("INV-13: {vm:?}, and its host has {row:?}"))?;
        let state = daemon.node.engine().board().get(vm.id).map(|report| report.state);
        let sizes = vm.disks().into_iter().zip(vm.sizes.map(ByteSize::mib));
        let whole = |(disk, size)| census.volume(disk).is_some_and(|volume| volume.whole && volume.size == size);
        let whole = sizes.into_iter().all(whole);
        let old = census.volumes.iter().filter(|volume| volume.id.vm == vm.id && !vm.disks().contains(&volume.id));
        hold(old.count() == 0 || vm.failed, || format!("INV-1: a root disk of an earlier turn is left: {census:?}"))?;
        hold(whole || vm.failed || vm.want == Want::Absent, || {
            format!("INV-7: {} is {state:?} without all of its disks: {census:?}", vm.id)
        })?;
        match vm.want {
            Want::Absent => Err(format!("LIV-2: {} is never destroyed", vm.id)),
            _ if vm.failed => {
                hold(state == Some(VmState::Failed), || format!("INV-9: given up, and said to be {state:?}"))?;
                // A monitor whose disk was taken away may be the last to hold its bytes.
                let process = census.monitor(vm.id).is_some() && !vm.excuses.volume;
                hold(!process, || format!("INV-7: {} is given up, and half of it is left", vm.id))
            }
            Want::Running => {
                hold(state == Some(VmState::Running), || format!("LIV-1: {vm:?} shall run, and is {state:?}"))?;
                runs(census, vm)
            }
            Want::Stopped { .. } => {
                hold(state == Some(VmState::Stopped), || format!("LIV-1: {vm:?} shall be stopped, and is {state:?}"))?;
                let port = census.ports.iter().any(|port| port.config.id == vm.id);
                hold(census.monitor(vm.id).is_none() && !port, || format!("INV-7: {} is half stopped", vm.id))
            }
        }
    }

    /// LIV-4 and INV-7: every operation has ended, and the last of a VM as the VM did.
    async fn ops_have_ended(&self, ops: &[Op], vms: &[Vm]) -> Broken {
        for (place, op) in ops.iter().enumerate() {
            let Ok(ended) = self.daemon()?.plane.operation(&caller(op.who), op.id, LONG).await else { continue };
            let Some(vm) = vms.iter().find(|vm| vm.id == op.vm) else { continue };
            let last = !ops[place + 1..].iter().any(|later| later.vm == op.vm);
            let succeeded = match ended.outcome {
                v1::OperationOutcome::Pending => return Err(format!("LIV-4: {op:?} never ends")),
                v1::OperationOutcome::Succeeded => true,
                v1::OperationOutcome::Failed { .. } => false,
            };
            let always = matches!(op.verb, OperationVerb::Destroy | OperationVerb::Rename | OperationVerb::Resize);
            let unwound = vm.deleted.is_some() && op.verb != OperationVerb::Destroy;
            let due = !vm.failed && !unwound;
            hold(succeeded || !(always || (last && due)), || format!("INV-7: {op:?} ended as {ended:?} with {vm:?}"))?;
            // One that ran may be given up later: only what never ran cannot have succeeded.
            let never = op.verb == OperationVerb::Create && unwound && last;
            hold(!(succeeded && never && vm.lived == 0), || format!("INV-7: {op:?} succeeded, and {vm:?} never ran"))?;
        }
        Ok(())
    }
}

impl Vm {
    /// INV-5 and INV-6: its disks have the bytes that its guest wrote, and are there until it shall be absent.
    fn bytes_are_its_own(&mut self, census: &Census, turn: Option<u32>) -> Broken {
        let taken = [false, self.data_taken];
        let theirs = [turn == Some(self.turn), turn.is_some()];
        for (at, disk) in self.disks().into_iter().enumerate() {
            let (known, taken, provisioned) = (&mut self.bytes[at], taken[at], theirs[at]);
            let volume = census.volume(disk).filter(|volume| volume.whole);
            match (volume, *known) {
                (Some(volume), None) if provisioned => *known = Some(volume.fingerprint),
                (Some(_), Some(_)) if taken => return Err(format!("INV-5: {disk} was taken, and is made anew")),
                (Some(volume), Some(known)) if volume.fingerprint != known => {
                    return Err(format!("INV-5: the bytes of {disk} are not its own any more"));
                }
                (None, Some(_)) if self.want != Want::Absent && !taken => {
                    return Err(format!("INV-6: {disk} is gone, and nobody asked for it"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
