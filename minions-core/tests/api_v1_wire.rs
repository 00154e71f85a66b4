//! What API v1 looks like on the wire. A change here is a change for every client there is.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::fmt::Debug;

use minions_core::ErrorKind;
use minions_core::api::v1::*;
use minions_core::types::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The value is written like this, and this is read as the value.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, wire: Value) {
    assert_eq!(serde_json::to_value(value).unwrap(), wire);
    assert_eq!(&serde_json::from_value::<T>(wire).unwrap(), value);
}

fn vm_id() -> VmId {
    VmId::from_bits(1)
}

const VM: &str = "vm_00000000000000000000000001";
const OP: &str = "op_00000000000000000000000002";

fn image_id() -> ImageId {
    ImageId::from_digest([0xab; 32])
}

fn name<T: std::str::FromStr<Err = minions_core::Error>>() -> T {
    "web".parse().unwrap()
}

#[test]
fn requests_about_vms() {
    golden(&CreateVm::named(name()), json!({ "name": "web" }));
    golden(
        &CreateVm {
            image: Some("debian".to_owned()),
            cpus: Some(Vcpus(2)),
            memory: Some(ByteSize::gib(1)),
            disk: Some(ByteSize::gib(10)),
            data_disk: Some(ByteSize::default()),
            ..CreateVm::named(name())
        },
        json!({ "name": "web", "image": "debian", "cpus": 2, "memory": 1_073_741_824u64, "disk": 10_737_418_240u64, "data_disk": 0 }),
    );
    golden(&StartVm {}, json!({}));
    golden(&RestartVm {}, json!({}));
    golden(&DestroyVm::default(), json!({}));
    golden(&StopVm { force: true, grace_ms: None }, json!({ "force": true }));
    golden(&StopVm { force: false, grace_ms: Some(5000) }, json!({ "force": false, "grace_ms": 5000 }));
    golden(&RenameVm { name: name() }, json!({ "name": "web" }));
    golden(&ResizeVm { cpus: Some(Vcpus(4)), ..ResizeVm::default() }, json!({ "cpus": 4 }));
    golden(
        &ResizeVm { disk: Some(ByteSize::gib(1)), data_disk: Some(ByteSize::bytes(512)), ..ResizeVm::default() },
        json!({ "disk": 1_073_741_824u64, "data_disk": 512 }),
    );
    golden(&DestroyVm { keep_data: true }, json!({ "keep_data": true }));
    golden(&RebaseVm::default(), json!({}));
    golden(&RebaseVm { image: Some("debian".into()) }, json!({ "image": "debian" }));
    golden(&DeleteDisk {}, json!({}));
    golden(&ExposeVm { port: Some(8080) }, json!({ "port": 8080 }));
    golden(&ExposeVm::default(), json!({}));
    golden(&ShareVm::default(), json!({}));
    golden(
        &ShareVm { public: Some(true), add: vec!["bob".to_owned()], remove: vec!["eve".to_owned()] },
        json!({ "public": true, "add": ["bob"], "remove": ["eve"] }),
    );
    golden(
        &CreateVm { owner: Some("ada".to_owned()), public: true, port: Some(80), ..CreateVm::named(name()) },
        json!({ "name": "web", "owner": "ada", "public": true, "port": 80 }),
    );
    golden(
        &CreateVm {
            data_from: Some(VmId::from_bits(1)),
            egress: Some(vec!["203.0.113.0/24".parse().unwrap()]),
            rate: Some(ByteSize::mib(1)),
            ..CreateVm::named(name())
        },
        json!({
            "name": "web",
            "data_from": VmId::from_bits(1).to_string(),
            "egress": ["203.0.113.0/24"],
            "rate": 1_048_576
        }),
    );
}

#[test]
fn requests_refuse_what_they_do_not_know() {
    let unknown = json!({ "name": "web", "later": 1 });
    assert!(serde_json::from_value::<CreateVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<RenameVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<StopVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<StartVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<RestartVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<DestroyVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<RebaseVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<DeleteDisk>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<ExposeVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<ShareVm>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<ResizeVm>(unknown).is_err());
}

fn vm() -> (Vm, Value) {
    let vm = Vm {
        id: vm_id(),
        name: name(),
        owner: "ada".to_owned(),
        state: VmState::Failed,
        reason: Some(StateReason::new("host_lost", "the host is gone")),
        since: UnixMillis(5),
        last_progress: UnixMillis(6),
        goal: "running".to_owned(),
        generation: Generation(3),
        epoch: 2,
        access: Access { port: Some(8080), public: false, shared: vec!["bob".to_owned()] },
        image: image_id(),
        cpus: Vcpus(2),
        memory: ByteSize::bytes(10),
        disk: ByteSize::bytes(11),
        data_disk: ByteSize::bytes(12),
        running: Some(RunningSize { cpus: Vcpus(1), memory: ByteSize::bytes(9) }),
        ip: Some([10, 0, 0, 5].into()),
        data_from: None,
        policy: None,
        fences: None,
        restarts: 1,
        created: UnixMillis(4),
        deleted: None,
        timings: vec![BootMark { name: "kernel".into(), micros: 1500 }],
    };
    let wire = json!({
        "id": VM, "name": "web", "owner": "ada", "state": "failed",
        "reason": { "code": "host_lost", "message": "the host is gone" },
        "since": 5, "last_progress": 6, "goal": "running", "generation": 3, "epoch": 2,
        "access": { "port": 8080, "public": false, "shared": ["bob"] },
        "image": format!("img_{}", "ab".repeat(32)), "cpus": 2, "memory": 10, "disk": 11, "data_disk": 12, "running": { "cpus": 1, "memory": 9 },
        "ip": "10.0.0.5", "restarts": 1, "created": 4, "timings": [{ "name": "kernel", "micros": 1500 }],
    });
    (vm, wire)
}

#[test]
fn a_vm_and_a_page_of_them() {
    let (vm, wire) = vm();
    golden(&vm, wire.clone());
    golden(&VmPage { vms: vec![vm.clone()], next: Some("n".to_owned()) }, json!({ "vms": [wire], "next": "n" }));
    golden(&VmPage { vms: Vec::new(), next: None }, json!({ "vms": [] }));
}

#[test]
fn responses_may_grow() {
    let (vm, mut wire) = vm();
    wire["later"] = json!([1]);
    assert_eq!(serde_json::from_value::<Vm>(wire).unwrap(), vm);
}

#[test]
fn every_state_has_its_word() {
    for (state, word) in [
        (VmState::Pending, "pending"),
        (VmState::Creating, "creating"),
        (VmState::Starting, "starting"),
        (VmState::Running, "running"),
        (VmState::Stopping, "stopping"),
        (VmState::Stopped, "stopped"),
        (VmState::Deleting, "deleting"),
        (VmState::Destroyed, "destroyed"),
        (VmState::Failed, "failed"),
    ] {
        golden(&state, json!(word));
    }
}

fn problem() -> (Problem, Value) {
    let error = minions_core::Error::invalid("name", "no").with_reason("name_invalid");
    let wire = json!({
        "kind": "invalid_argument", "reason": "name_invalid", "field": "name", "message": "no", "status": 400,
        "effect": "none",
    });
    (Problem::from(&error), wire)
}

#[test]
fn problems_and_their_statuses() {
    let (value, wire) = problem();
    golden(&value, wire);
    let statuses: Vec<u16> =
        ErrorKind::ALL.iter().map(|kind| Problem::from(&minions_core::Error::new(*kind, "x")).status).collect();
    assert_eq!(statuses, [400, 401, 404, 409, 409, 409, 403, 501, 503, 504, 500]);
    let exits: Vec<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
    assert_eq!(exits, [2, 3, 4, 5, 5, 6, 7, 2, 8, 8, 1]);
}

#[test]
fn operations() {
    let operation = |outcome| Operation {
        id: OperationId::from_bits(2),
        verb: OperationVerb::Create,
        vm: vm_id(),
        outcome,
        timings: Vec::new(),
        created: UnixMillis(1),
        ended: None,
    };
    let wire = json!({ "id": OP, "verb": "create", "vm": VM, "state": "pending", "created": 1 });
    golden(&operation(OperationOutcome::Pending), wire.clone());
    let mut ended = wire.clone();
    ended["state"] = json!("succeeded");
    golden(&operation(OperationOutcome::Succeeded), ended);
    let (error, error_wire) = problem();
    let mut failed = wire;
    failed["state"] = json!("failed");
    failed["error"] = error_wire;
    golden(&operation(OperationOutcome::Failed { error }), failed);
}

#[test]
fn events() {
    let event = |body| Event { seq: EventSeq(9), vm: vm_id(), name: name(), at: UnixMillis(3), body };
    let wire = |rest: Value| {
        let mut wire = json!({ "seq": 9, "vm": VM, "name": "web", "at": 3 });
        wire.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        wire
    };
    let operation = OperationId::from_bits(2);
    let accepted = event(EventBody::Accepted { operation, verb: OperationVerb::Stop });
    golden(&accepted, wire(json!({ "kind": "accepted", "operation": OP, "verb": "stop" })));
    let ended = EventBody::Ended { operation, verb: OperationVerb::Stop, outcome: OperationOutcome::Succeeded };
    golden(
        &event(ended),
        wire(json!({ "kind": "ended", "operation": OP, "verb": "stop", "outcome": { "state": "succeeded" } })),
    );
    let state = EventBody::State { state: VmState::Running, reason: None };
    golden(&event(state), wire(json!({ "kind": "state", "state": "running" })));
    golden(&event(EventBody::Deleted), wire(json!({ "kind": "deleted" })));
    golden(
        &EventPage { events: vec![accepted], next: EventSeq(9) },
        json!({ "events": [wire(json!({ "kind": "accepted", "operation": OP, "verb": "stop" }))], "next": 9 }),
    );
}

#[test]
fn images() {
    let id = format!("img_{}", "ab".repeat(32));
    let image = Image { id: image_id(), name: "demo".to_owned(), size: ByteSize::bytes(7), created: UnixMillis(1) };
    let wire = json!({ "id": id, "name": "demo", "size": 7, "created": 1 });
    golden(&image, wire.clone());
    golden(&ImageList { images: vec![image] }, json!({ "images": [wire] }));
    golden(
        &ImportImage {
            id: image_id(),
            name: "demo".to_owned(),
            root: "/r".into(),
            kernel: "/k".into(),
            initrd: "/i".into(),
            defaults: ImageDefaults { vcpus: Some(Vcpus(1)), ..ImageDefaults::default() },
        },
        json!({ "id": id, "name": "demo", "root": "/r", "kernel": "/k", "initrd": "/i", "defaults": { "vcpus": 1 } }),
    );
}

#[test]
fn the_host_and_the_version() {
    golden(
        &HostStatus {
            hypervisor: "qemu 7.2".to_owned(),
            storage: "file".to_owned(),
            network: "user".to_owned(),
            guest: "vsock".to_owned(),
            isolated: false,
            accelerated: true,
            simulated: false,
            vms: 1,
            quarantined: 2,
            storage_total: ByteSize::bytes(3),
            storage_used: ByteSize::bytes(4),
            storage_metadata_total: Some(ByteSize::bytes(5)),
            storage_metadata_used: Some(ByteSize::bytes(6)),
        },
        json!({
            "hypervisor": "qemu 7.2", "storage": "file", "network": "user", "guest": "vsock", "isolated": false,
            "accelerated": true, "simulated": false, "vms": 1, "quarantined": 2, "storage_total": 3, "storage_used": 4,
            "storage_metadata_total": 5, "storage_metadata_used": 6,
        }),
    );
    golden(
        &VersionInfo { version: "0.1.0".to_owned(), api: "v1".to_owned() },
        json!({ "version": "0.1.0", "api": "v1" }),
    );
}
