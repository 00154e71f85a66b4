//! The planner over every state that it can tell apart: not samples, all of them.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::net::Ipv4Addr;

use minions_core::engine::plan::{Plan, plan};
use minions_core::engine::{Known, Observed, Step};
use minions_core::guest::DoorState;
use minions_core::hypervisor::{VmmPhase, VmmStatus};
use minions_core::network::PortStatus;
use minions_core::storage::VolumeStatus;
use minions_core::store::{GoalEntry, JournalRow, Outcome};
use minions_core::types::{
    AgentSecret, BootFiles, ByteSize, Cid, DiskRole, Fences, Generation, Goal, GuestNet, ImageDefaults, ImageId,
    ImageInfo, Lease, MacAddr, NicAttachment, NicBackend, StateReason, StopHow, UnixMillis, Vcpus, VmId, VmSpec,
    VolumeId,
};

const EPOCH: u64 = 7;
const SIZE: ByteSize = ByteSize::gib(1);

fn vmms() -> Vec<Option<VmmStatus>> {
    let mut all = vec![None];
    for epoch in [EPOCH - 1, EPOCH] {
        for phase in [VmmPhase::Prepared, VmmPhase::Running, VmmPhase::Exited] {
            all.push(Some(VmmStatus { epoch, phase, since: UnixMillis(0), size: None, fences: Fences::default() }));
        }
    }
    all
}

fn volume(size: ByteSize, whole: bool) -> VolumeStatus {
    VolumeStatus { id: VolumeId::root(VmId::from_bits(1)), size, path: "/v".into(), whole, active: true }
}

fn named(volumes: Vec<Option<VolumeStatus>>, id: VolumeId) -> Vec<Option<VolumeStatus>> {
    volumes.into_iter().map(|volume| volume.map(|volume| VolumeStatus { id, ..volume })).collect()
}

fn volumes() -> Vec<Option<VolumeStatus>> {
    vec![None, Some(volume(SIZE, false)), Some(volume(ByteSize::mib(1), true)), Some(volume(SIZE, true))]
}

fn nic() -> NicAttachment {
    let mac = MacAddr::local(1);
    let net = GuestNet { ip: Ipv4Addr::LOCALHOST, prefix: 16, gateway: Ipv4Addr::LOCALHOST, dns: vec![], mac };
    NicAttachment { backend: NicBackend::Simulated, mac, net }
}

fn image() -> ImageInfo {
    ImageInfo {
        id: ImageId::from_digest([0; 32]),
        name: "demo".into(),
        root_size: SIZE,
        boot: BootFiles { kernel: "/k".into(), initrd: "/i".into() },
        defaults: ImageDefaults::default(),
        created: UnixMillis(0),
        damage: None,
    }
}

fn knowns() -> Vec<Known> {
    let some = |bits: u32, bit: u32| (bits >> bit & 1 == 1).then_some(EPOCH);
    (0..32)
        .map(|bits| Known {
            started: some(bits, 0),
            probed: some(bits, 1),
            proven: some(bits, 2),
            asked: some(bits, 3),
            waited: some(bits, 4),
            prepared: None,
            booted: None,
            shown: None,
            grown: None,
        })
        .collect()
}

fn rows() -> Vec<JournalRow> {
    let goals = [
        Goal::Running { epoch: EPOCH },
        Goal::Stopped { how: StopHow::DEFAULT },
        Goal::Stopped { how: StopHow::Force },
        Goal::ABSENT,
        Goal::Absent { keep_data: true },
    ];
    let given_up = |code: &str| {
        Some(Outcome::GivenUp { kind: minions_core::ErrorKind::Unavailable, reason: StateReason::new(code, "x") })
    };
    let mut rows = Vec::new();
    for goal in goals {
        for provisioned in [None, Some(0)] {
            for outcome in [None, Some(Outcome::Met), given_up("boot_timeout"), given_up("volume_lost")] {
                for data in [None, Some(SIZE)] {
                    rows.push(JournalRow {
                        entry: GoalEntry {
                            vm: VmId::from_bits(1),
                            hostname: "web".parse().unwrap(),
                            generation: Generation(3),
                            goal,
                            spec: VmSpec {
                                image: ImageId::from_digest([0; 32]),
                                vcpus: Vcpus(1),
                                memory: SIZE,
                                root: SIZE,
                                data,
                                ..VmSpec::of(ImageId::from_digest([0; 32]))
                            },
                        },
                        lease: Lease {
                            cid: Cid::FIRST,
                            ip: Ipv4Addr::LOCALHOST,
                            mac: MacAddr::local(1),
                            uid: 1,
                            secret: AgentSecret::from_bytes([0; 32]),
                        },
                        provisioned,
                        outcome: outcome.clone(),
                    });
                }
            }
        }
    }
    rows
}

fn every(mut check: impl FnMut(&JournalRow, &Observed)) -> u64 {
    let ports = [None, Some(PortStatus { nic: None }), Some(PortStatus { nic: Some(nic()) })];
    let mut count = 0;
    // On the first root disk, and on one that has taken the place of another, which is left or not.
    let turns = [(0, false), (1, false), (1, true)];
    for (row, (turn, old)) in rows().into_iter().flat_map(|row| turns.map(|turn| (row.clone(), turn))) {
        let row = of_turn(row, turn);
        for vmm in vmms() {
            for root in named(volumes(), OLD.at(turn)) {
                for data in named(volumes(), VolumeId::data(row.entry.vm)) {
                    for port in &ports {
                        for door in [DoorState::Absent, DoorState::Stale, DoorState::Open] {
                            for image in [None, Some(image())] {
                                for known in knowns() {
                                    let seen = Observed {
                                        vmm: vmm.clone(),
                                        old_roots: old.then_some(OLD).into_iter().collect(),
                                        online_growth: turn == 1,
                                        root: root.clone(),
                                        data: data.clone(),
                                        port: port.clone(),
                                        door,
                                        image: image.clone(),
                                        known,
                                    };
                                    check(&row, &seen);
                                    count += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    count
}

const OLD: VolumeId = VolumeId::root(VmId::from_bits(1));

fn of_turn(mut row: JournalRow, turn: u32) -> JournalRow {
    row.entry.spec.root_turn = turn;
    row.provisioned = row.provisioned.map(|_| turn);
    row
}

fn steps(plan: &Plan) -> Vec<Step> {
    if let Plan::Stages(stages) = plan { stages.iter().flatten().copied().collect() } else { vec![] }
}

fn whole(volume: Option<&VolumeStatus>) -> bool {
    volume.is_some_and(|volume| volume.whole)
}

/// What the goal means, said without the planner.
fn is_met(row: &JournalRow, seen: &Observed) -> bool {
    let data_whole = row.entry.spec.data.is_none() || whole(seen.data.as_ref());
    let made = whole(seen.root.as_ref()) && data_whole;
    let provisioned = row.provisioned == Some(row.entry.spec.root_turn);
    match row.entry.goal {
        Goal::Running { epoch } => {
            let shown = [seen.known.booted, seen.known.grown].contains(&Some(row.entry.generation));
            made && provisioned
                && (row.outcome.is_some() || !seen.online_growth || shown)
                && seen.old_roots.is_empty()
                && seen.vmm.as_ref().is_some_and(|vmm| vmm.epoch == epoch && vmm.phase == VmmPhase::Running)
                && seen.port.as_ref().is_some_and(|port| port.nic.is_some())
                && seen.door == DoorState::Open
                && seen.known.proven == Some(epoch)
        }
        Goal::Stopped { .. } => {
            let large = |volume: &Option<VolumeStatus>| volume.as_ref().is_some_and(|volume| volume.size >= SIZE);
            let grown = large(&seen.root) && (row.entry.spec.data.is_none() || large(&seen.data));
            made && grown
                && provisioned
                && seen.old_roots.is_empty()
                && seen.vmm.is_none()
                && seen.port.is_none()
                && seen.door == DoorState::Absent
        }
        Goal::Absent { .. } => false,
    }
}

#[test]
fn every_state_obeys_the_rules_of_planning() {
    let count = every(|row, seen| {
        let plan = plan(row, seen);
        let all = steps(&plan);
        let context = || format!("{row:?}\n{seen:?}\n{plan:?}");
        let given_up = matches!(row.outcome, Some(Outcome::GivenUp { .. }));

        // INV-6: only a goal of absence removes a volume, or another root disk that took its place, and was made.
        let removes = |step: &&Step| matches!(step, Step::RemoveVolume(_));
        if !row.entry.goal.is_absent() {
            assert!(all.iter().filter(removes).all(|step| *step == Step::RemoveVolume(OLD)), "{}", context());
            let remade = whole(seen.root.as_ref()) || all.contains(&Step::MakeVolume(DiskRole::Root));
            assert!(remade || !all.iter().any(|step| removes(&step)), "{}", context());
            assert_ne!(plan, Plan::Bury, "{}", context());
        }
        // What was lost is never made anew over its owner's head.
        if row.entry.goal == (Goal::Absent { keep_data: true }) {
            let data = Step::RemoveVolume(VolumeId::data(row.entry.vm));
            assert!(!all.contains(&data), "{}", context());
        }
        let root_lost = row.provisioned.is_some() && !whole(seen.root.as_ref());
        assert!(!(root_lost && all.contains(&Step::MakeVolume(DiskRole::Root))), "{}", context());
        // A plan is empty exactly when the goal is met.
        if !given_up && !row.entry.goal.is_absent() {
            assert_eq!(plan == Plan::Met, is_met(row, seen), "{}", context());
        }
        // The row goes last.
        if plan == Plan::Bury {
            let data = seen.data.is_some() && row.entry.goal == Goal::ABSENT;
            let root = seen.root.is_some() || !seen.old_roots.is_empty();
            let left = seen.vmm.is_some() || root || data || seen.port.is_some();
            assert!(!left && seen.door == DoorState::Absent, "{}", context());
        }
        if let Plan::Stages(stages) = &plan {
            assert!(stages.iter().all(|stage| !stage.is_empty()), "{}", context());
            let place = |wanted: &dyn Fn(&Step) -> bool| stages.iter().position(|stage| stage.iter().any(wanted));
            let end = place(&|step| matches!(step, Step::EndVmm(_)));
            let remove = place(&|step| matches!(step, Step::RemoveVolume(_)));
            let start = place(&|step| matches!(step, Step::PrepareVmm | Step::StartVmm));
            let make = place(&|step| matches!(step, Step::MakeVolume(_) | Step::MakePort | Step::OpenDoor));
            let note = place(&|step| matches!(step, Step::NoteProvisioned));
            // INV-3: a volume goes only after every process that may have it open.
            assert!(end.is_none() || remove.is_none() || end < remove, "{}", context());
            // INV-10 and the contract of the monitor: its parts come first.
            assert!(make.is_none() || start.is_none() || make < start, "{}", context());
            // No guest runs before what it needs is noted.
            let boot = place(&|step| *step == Step::StartVmm);
            assert!(note.is_none() || boot.is_none() || note < boot, "{}", context());
            // INV-13: no second monitor beside one of another epoch, nor beside a corpse.
            let other = seen.vmm.as_ref().is_some_and(|vmm| vmm.epoch != EPOCH || vmm.phase == VmmPhase::Exited);
            assert!(start.is_none() || !other, "{}", context());
            // A guest is never asked, and time never granted, without the end of the ladder behind it.
            let ask = place(&|step| matches!(step, Step::AskGuest | Step::AwaitExit { .. }));
            assert!(ask.is_none() || ask < end, "{}", context());
            // Time is granted to a guest that was asked before, and through a door that is open.
            let (asks, waits) =
                (place(&|step| *step == Step::AskGuest), place(&|step| matches!(step, Step::AwaitExit { .. })));
            let asked = seen.known.asked == seen.vmm.as_ref().map(|vmm| vmm.epoch);
            assert!(waits.is_none() || asked || asks.is_some() && asks < waits, "{}", context());
            let open = place(&|step| *step == Step::OpenDoor);
            assert!(asks.is_none() || seen.door == DoorState::Open || open.is_some() && open < asks, "{}", context());
            // No step twice, in one stage or over the plan.
            let mut unique = all.clone();
            unique.sort_by_key(|step| format!("{step:?}"));
            unique.dedup();
            assert_eq!(unique.len(), all.len(), "{}", context());
        }
    });
    println!("states={count}");
    assert!(count > 1_000_000, "{count}");
}

/// What a step that works does to the world.
fn apply(row: &mut JournalRow, seen: &mut Observed, step: Step) {
    let epoch = if let Goal::Running { epoch } = row.entry.goal { Some(epoch) } else { None };
    let live = seen.vmm.as_ref().map(|vmm| vmm.epoch);
    let status = |phase| {
        Some(VmmStatus {
            epoch: epoch.unwrap_or(0),
            phase,
            since: UnixMillis(0),
            size: None,
            fences: Fences::default(),
        })
    };
    match step {
        Step::MakeVolume(DiskRole::Root) => seen.root = Some(volume(SIZE, true)),
        Step::MakeVolume(DiskRole::Data) => seen.data = Some(volume(SIZE, true)),
        Step::RemoveVolume(OLD) if !seen.old_roots.is_empty() => seen.old_roots.clear(),
        Step::RemoveVolume(VolumeId { role: DiskRole::Root, .. }) => seen.root = None,
        Step::RemoveVolume(VolumeId { role: DiskRole::Data, .. }) => seen.data = None,
        Step::ShowDisks => seen.known.shown = Some(row.entry.generation),
        Step::GrowGuest(_) => seen.known.grown = Some(row.entry.generation),
        Step::MakePort => seen.port = Some(PortStatus { nic: Some(nic()) }),
        Step::RemovePort => seen.port = None,
        Step::OpenDoor => seen.door = DoorState::Open,
        Step::RemoveDoor => seen.door = DoorState::Absent,
        Step::NoteProvisioned => row.provisioned = Some(row.entry.spec.root_turn),
        Step::PrepareVmm => seen.vmm = status(VmmPhase::Prepared),
        Step::StartVmm => {
            seen.vmm = status(VmmPhase::Running);
            seen.known.started = epoch;
            seen.known.booted = Some(row.entry.generation);
        }
        Step::AwaitReady => seen.known.proven = epoch,
        // The worst case: a guest that runs, but does not answer.
        Step::Probe => seen.known.probed = epoch,
        Step::AskGuest => seen.known.asked = live,
        Step::AwaitExit { .. } => seen.known.waited = live,
        Step::EndVmm(_) => {
            seen.vmm = None;
            seen.known = Known::default();
        }
    }
}

#[test]
fn liv_1_from_every_state_a_few_stages_lead_to_the_goal() {
    let mut longest = 0;
    every(|row, seen| {
        let (mut row, mut seen) = (row.clone(), seen.clone());
        let (first_row, first_seen) = (row.clone(), seen.clone());
        for turn in 0..16 {
            match plan(&row, &seen) {
                Plan::Met | Plan::Bury | Plan::GiveUp { .. } => {
                    longest = longest.max(turn);
                    return;
                }
                Plan::Stages(stages) => stages[0].iter().for_each(|step| apply(&mut row, &mut seen, *step)),
            }
        }
        panic!("no end from {first_row:?}\n{first_seen:?}");
    });
    println!("longest={longest}");
    assert!(longest <= 10, "{longest}");
}

#[test]
fn ctl_10_1_no_monitor_is_prepared_or_started_with_a_kernel_that_is_not_what_was_taken_in() {
    let mut refused = 0;
    every(|row, seen| {
        let mut seen = seen.clone();
        let Some(image) = &mut seen.image else { return };
        image.damage = Some("the kernel is another one".to_owned());
        let plan = plan(row, &seen);
        let starts = |step: &Step| matches!(step, Step::PrepareVmm | Step::StartVmm);
        assert!(!steps(&plan).iter().any(starts), "{row:?} {seen:?}: {plan:?}");
        if let Plan::GiveUp { reason, .. } = &plan
            && reason.code == "image_corrupt"
        {
            assert!(reason.message.contains("the kernel is another one"), "{reason:?}");
            assert!(seen.vmm.is_none_or(|vmm| vmm.phase != VmmPhase::Running), "one that runs goes on");
            refused += 1;
        }
    });
    assert!(refused > 1_000, "{refused}");
}
