//! What should be: a map of VMs and what was acknowledged of them. It knows the rules, and nothing of how they are kept.

use std::collections::BTreeMap;

use minions_core::ErrorKind;
use minions_core::store::VmRow;
use minions_core::types::{ByteSize, Generation, Goal, OperationId, OperationVerb, StopHow, VmId, VolumeId};

use crate::command::{Ask, NAMES, TENANTS, Target};

/// How many VMs a tenant may have.
pub const QUOTA: u64 = 2;
/// How long a name rests for others, in milliseconds.
const REST: u64 = 24 * 3_600 * 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Running,
    Stopped { force: bool },
    Absent,
}

impl Want {
    fn of(goal: &Goal) -> Self {
        match goal {
            Goal::Running { .. } => Self::Running,
            Goal::Stopped { how } => Self::Stopped { force: *how == StopHow::Force },
            Goal::Absent { .. } => Self::Absent,
        }
    }
}

/// What was acknowledged, and what has happened to it since.
#[derive(Clone, Debug)]
pub struct Vm {
    pub id: VmId,
    pub owner: usize,
    pub name: usize,
    pub want: Want,
    pub epoch: u64,
    pub generation: u64,
    pub cpus: u32,
    pub mib: u64,
    /// How often its root disk was made anew.
    pub turn: u32,
    /// How large its two disks shall be, in MiB.
    pub sizes: [u64; 2],
    /// Its failure is known.
    pub failed: bool,
    /// When it became a tombstone.
    pub deleted: Option<u64>,
    /// Why it may be given up, if it is.
    pub excuses: Excuses,
    /// A failure may heal: something was asked that makes the host try again.
    pub may_heal: bool,
    /// What was asked is the goal already; it may be said anew.
    pub may_repeat: bool,
    /// Its create is not known to have ended.
    pub creating: bool,
    /// The bytes of its two disks, once they are its own.
    pub bytes: [Option<[u8; 32]>; 2],
    /// Its data disk was taken away.
    pub data_taken: bool,
    /// Its process, while nothing may change that.
    pub pid: Option<u32>,
    /// Something happened behind the daemon's back that it need not know yet.
    pub disturbed: bool,
    /// The highest epoch that was seen to live.
    pub lived: u64,
}

/// What was done to a VM that no daemon could make up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excuses {
    /// Something was taken away while it was worked on.
    pub meddled: bool,
    /// A disk of it was taken away.
    pub volume: bool,
    /// Its monitor was killed this often.
    pub kills: u32,
}

impl Excuses {
    fn covers(self, code: &str) -> bool {
        self.meddled || (self.volume && code == "volume_lost") || (self.kills >= 10 && code == "crash_loop")
    }
}

/// One acknowledged request.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub id: OperationId,
    pub verb: OperationVerb,
    pub vm: VmId,
    pub who: usize,
    pub generation: u64,
}

/// What a request must be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Refused(ErrorKind, &'static str),
}

#[derive(Debug, Default)]
pub struct Reference {
    pub vms: BTreeMap<VmId, Vm>,
    /// In the order of their creation.
    pub order: Vec<VmId>,
    pub ops: Vec<Op>,
}

impl Reference {
    pub fn nth(&self, n: usize) -> Option<VmId> {
        (!self.order.is_empty()).then(|| self.order[n % self.order.len()])
    }

    pub fn holder(&self, name: usize) -> Option<&Vm> {
        self.vms.values().find(|vm| vm.deleted.is_none() && vm.name == name)
    }

    /// The VM that a tenant means, if they may.
    pub fn seen_by(&self, who: usize, target: Target) -> Option<&Vm> {
        let vm = match target {
            Target::Named(name) => self.holder(name),
            Target::Nth(n) => self.nth(n).and_then(|id| self.vms.get(&id)),
        };
        vm.filter(|vm| vm.owner == who)
    }

    fn taken(&self, who: usize, name: usize, now: u64, but: Option<VmId>) -> bool {
        let held = self.holder(name).is_some_and(|vm| Some(vm.id) != but);
        let rests = self
            .vms
            .values()
            .any(|vm| vm.name == name && vm.owner != who && vm.deleted.is_some_and(|at| at > now.saturating_sub(REST)));
        held || rests
    }

    /// What a create must be answered with: any of these.
    pub fn create(&self, who: usize, name: usize, now: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        if self.taken(who, name, now, None) {
            answers.push(Answer::Refused(ErrorKind::AlreadyExists, "name_taken"));
        }
        let mine = self.vms.values().filter(|vm| vm.owner == who && vm.deleted.is_none()).count();
        if mine as u64 >= QUOTA {
            answers.push(Answer::Refused(ErrorKind::Exhausted, "quota"));
        }
        if answers.is_empty() {
            answers.push(Answer::Accepted);
        }
        answers
    }

    /// What a change must be answered with, and what the VM then shall be.
    pub fn change(&self, who: usize, target: Target, ask: Ask, now: u64) -> (Answer, Option<Vm>) {
        let refused = |kind, reason| (Answer::Refused(kind, reason), None);
        let Some(vm) = self.seen_by(who, target) else { return refused(ErrorKind::NotFound, "") };
        if vm.deleted.is_some() {
            return refused(ErrorKind::NotFound, "gone");
        }
        let mut next = Vm { generation: vm.generation + 1, ..vm.clone() };
        let stopped = matches!(vm.want, Want::Stopped { .. });
        match ask {
            Ask::Destroy => {
                if vm.want == Want::Absent {
                    return (Answer::Accepted, Some(vm.clone()));
                }
                next.want = Want::Absent;
                next.failed = false;
            }
            _ if vm.want == Want::Absent => return refused(ErrorKind::Denied, "wrong_state"),
            Ask::Start if vm.want == Want::Running && !vm.failed => {
                return (Answer::Accepted, Some(Vm { may_repeat: true, ..vm.clone() }));
            }
            Ask::Restart if stopped && !vm.failed => return refused(ErrorKind::Denied, "not_running"),
            Ask::Start | Ask::Restart => {
                next.epoch += 1;
                next.want = Want::Running;
                next.failed = false;
            }
            Ask::Stop { force } => {
                let harder = vm.want == Want::Stopped { force: false } && force;
                if stopped && !vm.failed && !harder {
                    return (Answer::Accepted, Some(Vm { may_repeat: true, ..vm.clone() }));
                }
                next.want = Want::Stopped { force };
                next.failed = false;
            }
            Ask::Rename(name) => {
                if self.taken(who, name, now, Some(vm.id)) {
                    return refused(ErrorKind::AlreadyExists, "name_taken");
                }
                next.name = name;
                next.may_heal = true;
            }
            Ask::Resize { cpus, mib } => {
                next.cpus = cpus;
                next.mib = mib;
                next.may_heal = true;
            }
            Ask::Grow { data, mib } => {
                next.sizes[usize::from(data)] += mib;
                next.may_heal = true;
            }
            Ask::Rebase => {
                next.turn += 1;
                next.epoch += u64::from(vm.want == Want::Running);
                // What the guest wrote on the old one is meant to go.
                next.bytes[0] = None;
                next.failed = false;
            }
        }
        if !matches!(ask, Ask::Rename(_) | Ask::Resize { .. } | Ask::Grow { .. }) {
            next.pid = None;
        }
        (Answer::Accepted, Some(next))
    }

    pub fn created(&mut self, id: VmId, who: usize, name: usize) {
        let vm = Vm {
            id,
            owner: who,
            name,
            want: Want::Running,
            epoch: 1,
            generation: 1,
            cpus: 1,
            mib: 256,
            turn: 0,
            sizes: [1_024; 2],
            failed: false,
            deleted: None,
            excuses: Excuses::default(),
            may_heal: false,
            may_repeat: false,
            creating: true,
            bytes: [None, None],
            data_taken: false,
            pid: None,
            disturbed: false,
            lived: 0,
        };
        self.vms.insert(id, vm);
        self.order.push(id);
    }

    /// The fleet's rows must follow from what was acknowledged by nothing but what the service may do on its own: bury
    /// what shall be absent, give up what cannot be met, unwind a create that was given up.
    pub fn follow(&mut self, rows: &[VmRow]) -> Result<(), String> {
        for row in rows {
            let Some(vm) = self.vms.get_mut(&row.id) else {
                return Err(format!("INV-8: {} was made, and nobody was told: {row:?}", row.id));
            };
            vm.follow(row)?;
        }
        for vm in self.vms.values() {
            if !rows.iter().any(|row| row.id == vm.id) {
                return Err(format!("INV-4: {} was acknowledged and has no row", vm.id));
            }
        }
        for (who, tenant) in TENANTS.iter().enumerate() {
            let mine = self.vms.values().filter(|vm| vm.owner == who && vm.deleted.is_none()).count();
            if mine as u64 > QUOTA {
                return Err(format!("INV-14: {tenant} has {mine} VMs"));
            }
        }
        Ok(())
    }
}

impl Vm {
    /// Its disks, the root first.
    pub fn disks(&self) -> [VolumeId; 2] {
        [VolumeId::root(self.id).at(self.turn), VolumeId::data(self.id)]
    }

    pub fn follow(&mut self, row: &VmRow) -> Result<(), String> {
        let unwound = self.creating && self.want != Want::Absent && row.goal.is_absent();
        if unwound {
            let code = row.failure.as_ref().map(|failure| failure.code.as_str()).unwrap_or_default();
            if !self.excuses.covers(code) {
                return Err(format!("INV-7: a create was unwound without need: {row:?}"));
            }
            self.want = Want::Absent;
            self.generation += 1;
            self.failed = true;
            self.pid = None;
        }
        if std::mem::take(&mut self.may_repeat) && row.generation == Generation(self.generation + 1) {
            self.generation += 1;
        }
        let same = row.owner.0 == TENANTS[self.owner]
            && row.name.as_str() == NAMES[self.name]
            && Want::of(&row.goal) == self.want
            && row.epoch == self.epoch
            && row.generation == Generation(self.generation)
            && row.spec.vcpus.0 == self.cpus
            && row.spec.memory.get() == self.mib << 20
            && row.spec.root_turn == self.turn
            && [Some(row.spec.root), row.spec.data] == self.sizes.map(|mib| Some(ByteSize::mib(mib)));
        if !same {
            return Err(format!("INV-4: acknowledged was {self:?}, and the row is {row:?}"));
        }
        if row.settled > row.generation {
            return Err(format!("INV-13: settled ahead of its generation: {row:?}"));
        }
        match (&row.failure, self.failed) {
            (Some(failure), false) if self.want != Want::Absent => {
                if !self.excuses.covers(&failure.code) {
                    return Err(format!("INV-7: given up without need: {row:?}"));
                }
                self.failed = true;
                self.pid = None;
            }
            (None, true) if self.want != Want::Absent => {
                if !self.may_heal {
                    return Err(format!("INV-9: a failure vanished: {row:?}"));
                }
                self.failed = false;
            }
            _ => {}
        }
        match (row.deleted, self.deleted) {
            (Some(at), None) if self.want == Want::Absent => self.deleted = Some(at.0),
            (Some(_), None) => return Err(format!("INV-6: destroyed, and nobody asked for it: {row:?}")),
            (None, Some(_)) => return Err(format!("INV-4: back from the dead: {row:?}")),
            _ => {}
        }
        Ok(())
    }
}
