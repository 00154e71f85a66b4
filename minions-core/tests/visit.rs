//! Who reaches a VM's ports through a front door, in process and over the API.
#![cfg(all(feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;

use std::sync::Arc;
use std::time::Duration;

use edge::{Edge, new_vm, other, owner};
use minions_core::ErrorKind;
use minions_core::api::v1;
use minions_core::guest::client::forward;
use minions_core::service::{Caller, ControlPlane, Directory, VmAction, VmRef};
use minions_core::types::VmId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The port of the simulated guests' web server.
const WEB: u16 = 80;

type Plane = Arc<dyn ControlPlane>;

async fn done(plane: &Plane, caller: &Caller, operation: v1::Operation) {
    let ended = plane.operation(caller, operation.id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded, "{ended:?}");
}

async fn create(edge: &Edge, request: &v1::CreateVm) -> VmId {
    let plane: Plane = edge.plane.clone();
    let operation = plane.create(&owner(), request, None).await.unwrap();
    let vm = operation.vm;
    done(&plane, &owner(), operation).await;
    vm
}

async fn act(edge: &Edge, vm: VmId, action: VmAction) {
    let plane: Plane = edge.plane.clone();
    let operation = plane.act(&owner(), &VmRef::Id(vm), &action, None).await.unwrap();
    done(&plane, &owner(), operation).await;
}

fn share(public: Option<bool>, add: &[&str], remove: &[&str]) -> VmAction {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    VmAction::Share(v1::ShareVm { public, add: names(add), remove: names(remove) })
}

/// What a visitor gets of the VM's web server, or the kind of the refusal.
async fn visit(plane: &Plane, visitor: Option<&Caller>, vm: VmId) -> Result<String, ErrorKind> {
    let io = plane.visit(visitor, vm, WEB).await.map_err(|error| error.kind())?;
    let (near, far) = tokio::io::duplex(1 << 10);
    let (far_read, far_write) = tokio::io::split(far);
    let by = tokio::time::Instant::now() + Duration::from_secs(10);
    let carried = tokio::spawn(async move { forward(io, far_read, far_write, by).await });
    let (mut read, mut write) = tokio::io::split(near);
    write.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    write.shutdown().await.unwrap();
    let mut answer = String::new();
    read.read_to_string(&mut answer).await.unwrap();
    carried.await.unwrap().unwrap();
    Ok(answer)
}

/// The plane as a front door holds it: in process, and over TCP with a token of its own.
async fn ways(edge: &Edge) -> [Plane; 2] {
    [edge.plane.clone(), Arc::new(edge.over_tcp(&edge.admin))]
}

#[tokio::test]
async fn a_private_vm_is_there_for_its_owner_and_admins_alone() {
    let edge = Edge::start().await;
    let vm = create(&edge, &new_vm("web")).await;
    for plane in ways(&edge).await {
        for visitor in [owner(), Caller::admin("ops")] {
            let answer = visit(&plane, Some(&visitor), vm).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&vm.to_string()), "{answer}");
        }
        let absent = VmId::from_bits(7);
        for visitor in [None, Some(&other()), Some(&Caller::edge("proxy"))] {
            assert_eq!(visit(&plane, visitor, vm).await, Err(ErrorKind::NotFound), "{visitor:?}");
            assert_eq!(visit(&plane, visitor, absent).await, Err(ErrorKind::NotFound), "{visitor:?}");
        }
    }
}

#[tokio::test]
async fn a_shared_vm_is_there_for_whom_it_was_shared_with_until_it_is_taken_back() {
    let edge = Edge::start().await;
    let vm = create(&edge, &new_vm("web")).await;
    let name = other().owner.0;
    act(&edge, vm, share(None, &[&name], &[])).await;
    for plane in ways(&edge).await {
        assert!(visit(&plane, Some(&other()), vm).await.is_ok());
        assert_eq!(visit(&plane, None, vm).await, Err(ErrorKind::NotFound));
        assert_eq!(visit(&plane, Some(&Caller::tenant("third")), vm).await, Err(ErrorKind::NotFound));
    }
    act(&edge, vm, share(None, &[], &[&name])).await;
    for plane in ways(&edge).await {
        assert_eq!(visit(&plane, Some(&other()), vm).await, Err(ErrorKind::NotFound));
    }
}

#[tokio::test]
async fn a_public_vm_is_there_for_anybody_until_it_is_private_again() {
    let edge = Edge::start().await;
    let vm = create(&edge, &v1::CreateVm { public: true, port: Some(WEB), ..new_vm("web") }).await;
    let seen = edge.plane.vm(&owner(), &VmRef::Id(vm)).await.unwrap();
    assert_eq!(seen.access, v1::Access { port: Some(WEB), public: true, shared: Vec::new() });
    for plane in ways(&edge).await {
        assert!(visit(&plane, None, vm).await.is_ok());
        assert!(visit(&plane, Some(&other()), vm).await.is_ok());
    }
    act(&edge, vm, share(Some(false), &[], &[])).await;
    for plane in ways(&edge).await {
        assert_eq!(visit(&plane, None, vm).await, Err(ErrorKind::NotFound));
    }
}

#[tokio::test]
async fn ctl_6_1_whom_a_vm_is_shared_with_sees_it_and_neither_changes_nor_enters_it() {
    let edge = Edge::start().await;
    let vm = VmRef::Id(create(&edge, &new_vm("web")).await);
    let plane: Plane = edge.plane.clone();
    let name = other().owner.0;
    act(&edge, create(&edge, &new_vm("shop")).await, share(Some(true), &[], &[])).await;
    let (VmRef::Id(id), shop) = (vm.clone(), "shop".parse().unwrap()) else { panic!() };
    act(&edge, id, share(None, &[&name], &[])).await;
    assert_eq!(plane.vm(&other(), &vm).await.unwrap().name.as_str(), "web");
    let call = minions_core::api::guest::GuestCall::Health;
    let stop = VmAction::Stop(v1::StopVm::default());
    let denied = [
        plane.open(&other(), &vm, &call).await.err().unwrap(),
        plane.act(&other(), &vm, &stop, None).await.unwrap_err(),
        plane.act(&other(), &vm, &share(Some(true), &[], &[]), None).await.unwrap_err(),
        plane.console_log(&other(), &vm, 1).await.unwrap_err(),
        plane.console(&other(), &vm, 1).await.err().unwrap(),
    ];
    for error in denied {
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("forbidden")));
    }
    // To be public is to be reached by name, not to be known to everybody who has an account.
    assert_eq!(plane.vm(&other(), &shop).await.unwrap_err().kind(), ErrorKind::NotFound);
    let door = Caller::edge("proxy");
    assert_eq!(plane.vm(&door, &vm).await.unwrap().name.as_str(), "web");
    assert_eq!(plane.vms(&door, &v1::ListVms::default()).await.unwrap().vms.len(), 2);
    assert_eq!(plane.open(&door, &vm, &call).await.err().unwrap().kind(), ErrorKind::Denied);
    assert_eq!(plane.act(&door, &vm, &stop, None).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(plane.create(&door, &new_vm("mine"), None).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn only_an_admin_creates_for_somebody_else() {
    let edge = Edge::start().await;
    let request = v1::CreateVm { owner: Some(owner().owner.0), ..new_vm("web") };
    let refused = edge.plane.create(&other(), &request, None).await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Denied, Some("forbidden")));
    let plane: Plane = edge.plane.clone();
    let nobody = plane.create(&Caller::admin("ops"), &request, None).await.unwrap_err();
    assert_eq!((nobody.kind(), nobody.reason()), (ErrorKind::NotFound, Some("user_unknown")));
    let user = v1::AddUser { name: owner().owner.0.parse().unwrap(), admin: false };
    edge.accounts.add_user(&Caller::admin("ops"), &user).await.unwrap();
    let operation = plane.create(&Caller::admin("ops"), &request, None).await.unwrap();
    done(&plane, &Caller::admin("ops"), operation).await;
    assert_eq!(plane.vm(&owner(), &"web".parse().unwrap()).await.unwrap().owner, owner().owner.0);
}

#[tokio::test]
async fn bad_4_a_port_that_no_web_name_can_lead_to_is_refused() {
    let edge = Edge::start().await;
    let vm = VmRef::Id(create(&edge, &new_vm("web")).await);
    for port in [0, 22] {
        let expose = VmAction::Expose(v1::ExposeVm { port: Some(port) });
        let error = edge.plane.act(&owner(), &vm, &expose, None).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("port")));
        let create = v1::CreateVm { port: Some(port), ..new_vm("shop") };
        assert_eq!(edge.plane.create(&owner(), &create, None).await.unwrap_err().field(), Some("port"));
    }
    for name in ["", "a b", "../x"] {
        let error = edge.plane.act(&owner(), &vm, &share(None, &[name], &[]), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
    }
}

#[tokio::test]
async fn the_head_is_at_every_change_that_was_acknowledged() {
    let edge = Edge::start().await;
    let vm = create(&edge, &new_vm("web")).await;
    let door = Caller::edge("proxy");
    for turn in 0..20 {
        let expose = VmAction::Expose(v1::ExposeVm { port: Some(1_000 + turn) });
        edge.plane.act(&owner(), &VmRef::Id(vm), &expose, None).await.unwrap();
        let head = edge.plane.head().unwrap();
        let page = edge.plane.events(&door, minions_core::types::EventSeq(0), 1_000, Duration::ZERO).await.unwrap();
        let asked = page.events.iter().filter(|event| event.seq <= head);
        let accepted = asked.filter(|event| matches!(event.body, v1::EventBody::Accepted { .. }));
        assert_eq!(accepted.count(), 2 + usize::from(turn), "the create and each expose");
    }
    assert!(edge.over_tcp(&edge.admin).head().is_none());
}
