//! Any row of the journal, under any observation: the planner has an answer, and destroys only what shall be absent.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use minions_core::engine::plan::{Plan, plan};
use minions_core::engine::{Known, Observed, Step};
use minions_core::guest::DoorState;
use minions_core::hypervisor::{VmmPhase, VmmStatus};
use minions_core::network::PortStatus;
use minions_core::storage::VolumeStatus;
use minions_core::store::{GoalEntry, JournalRow, Outcome};
use minions_core::types::{
    AgentSecret, BootFiles, ByteSize, Cid, Fences, Generation, Goal, GuestNet, ImageDefaults, ImageId, ImageInfo,
    Lease, MacAddr, NicAttachment, NicBackend, StateReason, StopHow, UnixMillis, Vcpus, VmId, VmSpec, VolumeId,
};

#[derive(Arbitrary, Debug)]
struct Input {
    goal: u8,
    epoch: u64,
    grace_ms: u64,
    generation: u64,
    root: u64,
    data: Option<u64>,
    provisioned: bool,
    outcome: Option<Option<String>>,
    /// Columns as a store may hold them, in place of the above.
    entry_column: Option<String>,
    outcome_column: Option<String>,
    vmm: Option<(u64, u8)>,
    root_seen: Option<(u64, bool)>,
    data_seen: Option<(u64, bool)>,
    port: Option<bool>,
    door: u8,
    image: bool,
    known: [Option<u64>; 5],
}

fuzz_target!(|input: Input| {
    let (row, seen) = (row(&input), seen(&input));
    let absent = row.entry.goal.is_absent();
    match plan(&row, &seen) {
        Plan::Stages(stages) => {
            assert!(!stages.is_empty() && stages.iter().all(|stage| !stage.is_empty()), "a stage without a step");
            let removes = stages.iter().flatten().any(|step| matches!(step, Step::RemoveVolume(_)));
            assert!(absent || !removes, "a volume is removed under the goal {:?}", row.entry.goal);
        }
        Plan::Bury => {
            assert!(absent, "buried under the goal {:?}", row.entry.goal);
            let data = seen.data.as_ref().filter(|_| row.entry.goal == Goal::ABSENT);
            let left = (&seen.vmm, &seen.root, data, &seen.port, seen.door);
            assert_eq!(left, (&None, &None, None, &None, DoorState::Absent), "buried while something is left");
        }
        Plan::Met => assert!(!absent, "absence ends in a burial"),
        Plan::GiveUp { .. } => assert!(!absent, "absence is never given up"),
    }
});

fn row(input: &Input) -> JournalRow {
    let goal = match input.goal % 4 {
        0 => Goal::Running { epoch: input.epoch },
        1 => Goal::Stopped { how: StopHow::Graceful { grace_ms: input.grace_ms } },
        2 => Goal::Stopped { how: StopHow::Force },
        _ => Goal::Absent { keep_data: input.grace_ms % 2 == 1 },
    };
    let entry = GoalEntry {
        vm: VmId::from_bits(1),
        hostname: "web".parse().expect("a name"),
        generation: Generation(input.generation),
        goal,
        spec: VmSpec {
            image: ImageId::from_digest([0; 32]),
            vcpus: Vcpus(1),
            memory: ByteSize::mib(64),
            root: ByteSize::bytes(input.root),
            data: input.data.map(ByteSize::bytes),
            ..VmSpec::of(ImageId::from_digest([0; 32]))
        },
    };
    let outcome = input.outcome.as_ref().map(|code| match code {
        None => Outcome::Met,
        Some(code) => Outcome::GivenUp {
            kind: minions_core::ErrorKind::Unavailable,
            reason: StateReason::new(code.as_str(), "x"),
        },
    });
    let column = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
    JournalRow {
        entry: column(&input.entry_column).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(entry),
        lease: Lease {
            cid: Cid::FIRST,
            ip: [10, 0, 0, 2].into(),
            mac: MacAddr::local(1),
            uid: 1,
            secret: AgentSecret::from_bytes([0; 32]),
        },
        provisioned: input.provisioned.then_some(0),
        outcome: column(&input.outcome_column).and_then(|text| serde_json::from_slice(&text).ok()).or(outcome),
    }
}

fn seen(input: &Input) -> Observed {
    let volume = |seen: Option<(u64, bool)>| {
        let id = VolumeId::root(VmId::from_bits(1));
        seen.map(|(size, whole)| VolumeStatus { id, size: ByteSize::bytes(size), path: "/v".into(), whole, active: true })
    };
    let net = GuestNet {
        ip: [10, 0, 0, 2].into(),
        prefix: 16,
        gateway: [10, 0, 0, 1].into(),
        dns: Vec::new(),
        mac: MacAddr::local(1),
    };
    let nic = NicAttachment { backend: NicBackend::Simulated, mac: MacAddr::local(1), net };
    let [started, probed, proven, asked, waited] = input.known;
    Observed {
        vmm: input.vmm.map(|(epoch, phase)| VmmStatus {
            epoch,
            phase: [VmmPhase::Prepared, VmmPhase::Running, VmmPhase::Exited][usize::from(phase % 3)],
            since: UnixMillis(0),
            size: None,
            fences: Fences::default(),
        }),
        old_roots: Vec::new(),
        online_growth: input.image,
        root: volume(input.root_seen),
        data: volume(input.data_seen),
        port: input.port.map(|nic_seen| PortStatus { nic: nic_seen.then(|| nic.clone()) }),
        door: [DoorState::Absent, DoorState::Stale, DoorState::Open][usize::from(input.door % 3)],
        image: input.image.then(|| ImageInfo {
            id: ImageId::from_digest([0; 32]),
            name: "demo".into(),
            root_size: ByteSize::mib(64),
            boot: BootFiles { kernel: "/k".into(), initrd: "/i".into() },
            defaults: ImageDefaults::default(),
            created: UnixMillis(0),
            damage: None,
        }),
        known: Known { started, probed, proven, asked, waited, prepared: None, booted: None, shown: None, grown: None },
    }
}
