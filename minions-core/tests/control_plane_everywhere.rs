//! One suite over every way to reach a control plane: in process, over TCP with a token, over a UNIX socket.
#![cfg(all(feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge::{Edge, new_vm, owner};
use minions_core::ErrorKind;
use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::guest::client::{ExecEnd, ExecItem, exec};
use minions_core::memory::InMemoryHost;
use minions_core::service::{Caller, ControlPlane, IdempotencyKey, VmAction, VmRef};
use minions_core::types::{EventSeq, VmId, VmState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Plane = Arc<dyn ControlPlane>;

/// Runs a case on each way, each in a world of its own.
macro_rules! everywhere {
    ($($case:ident)*) => {
        mod in_process {
            $(#[tokio::test]
            async fn $case() {
                let edge = super::Edge::start().await;
                super::$case(&edge, edge.plane.clone(), super::owner()).await;
            })*
        }
        mod over_tcp {
            $(#[tokio::test]
            async fn $case() {
                let edge = super::Edge::start().await;
                super::$case(&edge, std::sync::Arc::new(edge.over_tcp(&edge.owner)), super::owner()).await;
            })*
        }
        mod over_unix {
            $(#[tokio::test]
            async fn $case() {
                let edge = super::Edge::start().await;
                super::$case(&edge, std::sync::Arc::new(edge.over_unix()), super::Caller::admin("admin")).await;
            })*
        }
    };
}

everywhere! {
    a_vm_lives_and_dies
    a_data_disk_outlives_its_vm
    an_idempotency_key_counts_once
    what_is_not_there_is_not_found
    pages_follow_one_another
    events_come_in_order_and_wait_for_the_next
    a_reader_of_events_that_was_away_too_long_is_told_so
    a_program_runs_in_a_guest_with_stdin_and_exit_code
    much_goes_through_a_guest_unchanged
    a_call_that_the_service_refuses_is_an_error_with_its_reason
    the_serial_log_and_the_host_can_be_seen
    whoever_sits_at_the_console_types_and_reads_until_the_guest_ends
    images_are_imported_listed_and_deleted_by_admins_only
}

fn named(name: &str) -> VmRef {
    name.parse().unwrap()
}

async fn done(plane: &Plane, caller: &Caller, operation: v1::Operation) -> v1::Operation {
    let ended = plane.operation(caller, operation.id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded, "{ended:?}");
    ended
}

async fn create(plane: &Plane, caller: &Caller, name: &str) -> v1::Vm {
    let operation = plane.create(caller, &new_vm(name), None).await.unwrap();
    done(plane, caller, operation).await;
    plane.vm(caller, &named(name)).await.unwrap()
}

async fn act(plane: &Plane, caller: &Caller, name: &str, action: VmAction) {
    let operation = plane.act(caller, &named(name), &action, None).await.unwrap();
    done(plane, caller, operation).await;
}

async fn a_vm_lives_and_dies(_: &Edge, plane: Plane, me: Caller) {
    let vm = create(&plane, &me, "web").await;
    assert_eq!((vm.state, vm.owner.as_str()), (VmState::Running, me.owner.0.as_str()));
    assert!(!vm.timings.is_empty());
    act(&plane, &me, "web", VmAction::Stop(v1::StopVm::default())).await;
    act(
        &plane,
        &me,
        "web",
        VmAction::Resize(v1::ResizeVm { cpus: Some(minions_core::types::Vcpus(3)), ..v1::ResizeVm::default() }),
    )
    .await;
    act(&plane, &me, "web", VmAction::Rename(v1::RenameVm { name: "shop".parse().unwrap() })).await;
    act(&plane, &me, "shop", VmAction::Start(v1::StartVm {})).await;
    act(&plane, &me, "shop", VmAction::Restart(v1::RestartVm {})).await;
    let again = plane.vm(&me, &VmRef::Id(vm.id)).await.unwrap();
    assert_eq!((again.name.as_str(), again.cpus.0, again.state), ("shop", 3, VmState::Running));
    act(&plane, &me, "shop", VmAction::Destroy(v1::DestroyVm::default())).await;
    assert_eq!(plane.vm(&me, &named("shop")).await.unwrap_err().kind(), ErrorKind::NotFound);
    let gone = plane.vm(&me, &VmRef::Id(vm.id)).await.unwrap();
    assert_eq!((gone.state, gone.deleted.is_some()), (VmState::Destroyed, true));
    let listed = plane.vms(&me, &v1::ListVms { deleted: Some(true), ..v1::ListVms::default() }).await.unwrap();
    assert_eq!(listed.vms.iter().map(|vm| vm.state).collect::<Vec<_>>(), [VmState::Destroyed]);
}

async fn a_data_disk_outlives_its_vm(_: &Edge, plane: Plane, me: Caller) {
    let request = v1::CreateVm { data_disk: Some(minions_core::types::ByteSize::gib(1)), ..new_vm("web") };
    let operation = plane.create(&me, &request, None).await.unwrap();
    done(&plane, &me, operation).await;
    let first = plane.vm(&me, &named("web")).await.unwrap();
    act(&plane, &me, "web", VmAction::Rebase(v1::RebaseVm::default())).await;
    let larger = first.data_disk.get() + (1 << 20);
    let resize =
        v1::ResizeVm { data_disk: Some(minions_core::types::ByteSize::bytes(larger)), ..v1::ResizeVm::default() };
    act(&plane, &me, "web", VmAction::Resize(resize)).await;
    act(&plane, &me, "web", VmAction::Destroy(v1::DestroyVm { keep_data: true })).await;
    let page = plane.disks(&me, &v1::ListDisks::default()).await.unwrap();
    let [left] = page.disks.as_slice() else { panic!("{page:?}") };
    assert_eq!((left.id, left.name.as_str(), left.size.get()), (first.id, "web", larger));
    let request = v1::CreateVm { data_from: Some(first.id), ..new_vm("next") };
    let request = v1::CreateVm { data_disk: None, ..request };
    let operation = plane.create(&me, &request, None).await.unwrap();
    done(&plane, &me, operation).await;
    let next = plane.vm(&me, &named("next")).await.unwrap();
    assert_eq!((next.data_from, next.data_disk.get()), (Some(first.id), larger));
    assert_eq!(plane.disks(&me, &v1::ListDisks::default()).await.unwrap().disks, []);
    let error = plane
        .create(&me, &v1::CreateVm { data_from: Some(first.id), data_disk: None, ..new_vm("thief") }, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    act(&plane, &me, "next", VmAction::Destroy(v1::DestroyVm { keep_data: true })).await;
    let disk = VmRef::Id(first.id);
    let operation = plane.act(&me, &disk, &VmAction::DeleteDisk(v1::DeleteDisk {}), None).await.unwrap();
    done(&plane, &me, operation).await;
    assert_eq!(plane.disks(&me, &v1::ListDisks::default()).await.unwrap().disks, []);
    let again = plane.act(&me, &disk, &VmAction::DeleteDisk(v1::DeleteDisk {}), None).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
}

async fn an_idempotency_key_counts_once(_: &Edge, plane: Plane, me: Caller) {
    let key: IdempotencyKey = "k-1".parse().unwrap();
    let first = plane.create(&me, &new_vm("web"), Some(&key)).await.unwrap();
    let again = plane.create(&me, &new_vm("web"), Some(&key)).await.unwrap();
    assert_eq!(first.id, again.id);
    let error = plane.create(&me, &new_vm("other"), Some(&key)).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::InvalidArgument, Some("idempotency_key_reused")));
    let error = plane.create(&me, &new_vm("web"), None).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::AlreadyExists, Some("name_taken")));
}

async fn what_is_not_there_is_not_found(_: &Edge, plane: Plane, me: Caller) {
    let nobody = VmRef::Id(VmId::from_bits(7));
    for error in [
        plane.vm(&me, &nobody).await.unwrap_err(),
        plane.act(&me, &named("nobody"), &VmAction::Start(v1::StartVm {}), None).await.unwrap_err(),
        plane.console_log(&me, &nobody, 10).await.unwrap_err(),
        plane.open(&me, &nobody, &GuestCall::Health).await.err().unwrap(),
        plane.console(&me, &nobody, 10).await.err().unwrap(),
        plane.operation(&me, minions_core::types::OperationId::from_bits(7), Duration::ZERO).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    }
}

async fn pages_follow_one_another(_: &Edge, plane: Plane, me: Caller) {
    for name in ["a", "b", "c"] {
        create(&plane, &me, name).await;
    }
    let mut names = Vec::new();
    let mut query = v1::ListVms { limit: Some(2), ..v1::ListVms::default() };
    loop {
        let page = plane.vms(&me, &query).await.unwrap();
        assert!(page.vms.len() <= 2);
        names.extend(page.vms.into_iter().map(|vm| vm.name.to_string()));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    for bad in [
        v1::ListVms { limit: Some(0), ..v1::ListVms::default() },
        v1::ListVms { limit: Some(201), ..v1::ListVms::default() },
        v1::ListVms { cursor: Some("'; DROP TABLE vm; --&x=\u{1f642}".to_owned()), ..v1::ListVms::default() },
    ] {
        assert_eq!(plane.vms(&me, &bad).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad:?}");
    }
}

async fn events_come_in_order_and_wait_for_the_next(_: &Edge, plane: Plane, me: Caller) {
    create(&plane, &me, "web").await;
    let page = plane.events(&me, EventSeq(0), 100, Duration::ZERO).await.unwrap();
    assert!(page.events.windows(2).all(|pair| pair[0].seq < pair[1].seq) && page.events.len() >= 3);
    let last = plane.last_event(&me).await.unwrap();
    let (waiting, who) = (plane.clone(), me.clone());
    let next = tokio::spawn(async move { waiting.events(&who, last, 10, Duration::from_secs(20)).await });
    act(&plane, &me, "web", VmAction::Stop(v1::StopVm::default())).await;
    let page = next.await.unwrap().unwrap();
    assert!(page.events.iter().all(|event| event.seq > last) && !page.events.is_empty());
}

async fn a_reader_of_events_that_was_away_too_long_is_told_so(edge: &Edge, plane: Plane, me: Caller) {
    create(&plane, &me, "web").await;
    let last = plane.last_event(&me).await.unwrap();
    edge.forget().await;
    let error = plane.events(&me, EventSeq(1), 100, Duration::ZERO).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some("events_pruned")), "{}", error.chain());
    assert_eq!(error.field(), Some("after"));
    let page = plane.events(&me, EventSeq(0), 100, Duration::ZERO).await.unwrap();
    assert_eq!(page.events.first().map(|event| event.seq), Some(last), "from the oldest that is kept");
    // Looking anew goes on without a gap.
    let place = plane.last_event(&me).await.unwrap();
    assert_eq!(plane.vm(&me, &named("web")).await.unwrap().state, VmState::Running);
    act(&plane, &me, "web", VmAction::Stop(v1::StopVm::default())).await;
    let page = plane.events(&me, place, 100, Duration::from_secs(20)).await.unwrap();
    assert_eq!(page.events.first().map(|event| event.seq.0), Some(place.0 + 1));
}

async fn run(plane: &Plane, me: &Caller, request: ExecRequest, stdin: Vec<Bytes>) -> (Vec<u8>, ExecEnd) {
    let io = plane.open(me, &named("web"), &GuestCall::Exec(request)).await.unwrap();
    let (input, mut output) = exec(io);
    let feeding = tokio::spawn(async move {
        for piece in stdin {
            input.write(piece).await?;
        }
        input.close().await
    });
    let mut text = Vec::new();
    loop {
        match output.next().await.unwrap().expect("a session ends with its end") {
            ExecItem::Stdout(bytes) => text.extend_from_slice(&bytes),
            ExecItem::End(end) => {
                let _ = feeding.await.unwrap();
                return (text, end);
            }
            ExecItem::Started { .. } | ExecItem::Stderr(_) => {}
        }
    }
}

async fn a_program_runs_in_a_guest_with_stdin_and_exit_code(_: &Edge, plane: Plane, me: Caller) {
    create(&plane, &me, "web").await;
    let request = ExecRequest { stdin: true, ..ExecRequest::new(["wc", "-l"]) };
    let (text, end) = run(&plane, &me, request, vec![Bytes::from_static(b"a\nb\n")]).await;
    assert_eq!((String::from_utf8(text).unwrap().trim(), end.exit_code()), ("2", 0));
    let (_, end) = run(&plane, &me, ExecRequest::new(["sh", "-c", "exit 3"]), Vec::new()).await;
    assert_eq!(end.exit_code(), 3);
    let (_, end) = run(&plane, &me, ExecRequest::new(["nonsense"]), Vec::new()).await;
    assert_eq!(end.exit_code(), 127);
}

async fn much_goes_through_a_guest_unchanged(_: &Edge, plane: Plane, me: Caller) {
    create(&plane, &me, "web").await;
    let pieces: Vec<Bytes> = (0..64u8).map(|piece| Bytes::from(vec![piece; 100_003])).collect();
    let want = pieces.concat();
    let request = ExecRequest { stdin: true, ..ExecRequest::new(["cat"]) };
    let (text, end) = run(&plane, &me, request, pieces).await;
    assert_eq!(end.exit_code(), 0);
    assert!(text == want, "{} bytes came back of {}", text.len(), want.len());
}

async fn a_call_that_the_service_refuses_is_an_error_with_its_reason(_: &Edge, plane: Plane, me: Caller) {
    create(&plane, &me, "web").await;
    let grow = GuestCall::GrowFilesystem { target: minions_core::api::guest::FsTarget::Root };
    let error = plane.open(&me, &named("web"), &grow).await.err().unwrap();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("forbidden")), "{}", error.chain());
    act(&plane, &me, "web", VmAction::Stop(v1::StopVm::default())).await;
    let error = plane.open(&me, &named("web"), &GuestCall::Health).await.err().unwrap();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("not_running")), "{}", error.chain());
}

async fn the_serial_log_and_the_host_can_be_seen(_: &Edge, plane: Plane, me: Caller) {
    create(&plane, &me, "web").await;
    assert!(plane.console_log(&me, &named("web"), 64).await.unwrap().len() <= 64);
    let host = plane.host(&me).await.unwrap();
    assert!(host.simulated && host.vms == 1, "{host:?}");
}

async fn whoever_sits_at_the_console_types_and_reads_until_the_guest_ends(_: &Edge, plane: Plane, me: Caller) {
    create(&plane, &me, "web").await;
    let mut console = plane.console(&me, &named("web"), 1 << 20).await.unwrap();
    console.write_all(b"\runame -n; echo con\"sole\"\r").await.unwrap();
    console.flush().await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("console\r\n") {
        let mut piece = [0; 1024];
        let count = console.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
    }
    assert!(String::from_utf8_lossy(&read).contains("Linux version"), "it begins with the log");
    let log = plane.console_log(&me, &named("web"), 64).await.unwrap();
    assert!(String::from_utf8_lossy(&log).contains("console\r\n"), "the log goes on");
    act(&plane, &me, "web", VmAction::Stop(v1::StopVm::default())).await;
    console.read_to_end(&mut read).await.unwrap();
    let error = plane.console(&me, &named("web"), 0).await.err().unwrap();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("not_running")), "{}", error.chain());
    assert!(error.chain().contains("minions start web"), "{}", error.chain());
}

async fn images_are_imported_listed_and_deleted_by_admins_only(_: &Edge, plane: Plane, me: Caller) {
    let (demo, admin) = (InMemoryHost::demo_image(), me.role == minions_core::service::Role::Admin);
    assert!(plane.images(&me).await.unwrap().images.iter().any(|image| image.id == demo.id));
    let imported = plane.import_image(&me, &demo).await;
    let deleted = plane.delete_image(&me, demo.id).await;
    if admin {
        assert_eq!(imported.unwrap().id, demo.id);
        deleted.unwrap();
        assert!(plane.images(&me).await.unwrap().images.is_empty());
    } else {
        for error in [imported.unwrap_err(), deleted.unwrap_err()] {
            assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("forbidden")));
        }
    }
}
