//! How long a caller is let in: what lasts longer than a request ends with its token, and with its VM.
#![cfg(all(feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;

use std::time::Duration;

use edge::{Edge, other, owner, raw};
use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::guest::GuestIoBox;
use minions_core::http::token::{Token, TokenTable};
use minions_core::service::{Caller, ControlPlane, VmAction, VmRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The promise is 1 s; a busy machine gets some more. What does not end by itself takes at least 20 s.
const SOON: Duration = Duration::from_secs(8);

/// A table of the tokens that are left.
fn table(left: &[(Caller, &Token)]) -> TokenTable {
    let lines: Vec<String> = left.iter().map(|(caller, token)| TokenTable::line(caller, &token.hash())).collect();
    TokenTable::parse(&lines.join("\n")).unwrap()
}

/// A program in the guest that ends by itself long after the test.
async fn program(edge: &Edge, token: &Token) -> GuestIoBox {
    let call = GuestCall::Exec(ExecRequest::new(["sleep", "1000"]));
    edge.over_tcp(token).open(&owner(), &"web".parse().unwrap(), &call).await.unwrap()
}

/// The guest's serial line, which nothing is told on.
async fn console(edge: &Edge, token: &Token) -> JoinHandle<()> {
    let mut line = edge.over_tcp(token).console(&owner(), &"web".parse().unwrap(), 0).await.unwrap();
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = line.read_to_end(&mut rest).await;
    })
}

/// Reads a stream to its end, in the background.
fn reading(mut io: GuestIoBox) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = io.read_to_end(&mut rest).await;
        rest
    })
}

/// Opens a stream of events, reads its head, then the rest to its end in the background.
async fn events(edge: &Edge, token: &Token) -> JoinHandle<String> {
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\r\n",
        token.expose()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        String::from_utf8_lossy(&rest).into_owned()
    })
}

async fn ends<T>(what: &str, task: JoinHandle<T>) -> T {
    tokio::time::timeout(SOON, task).await.unwrap_or_else(|_| panic!("{what} goes on")).unwrap()
}

#[tokio::test]
async fn ctl_6_4_what_a_token_has_open_ends_when_it_is_taken_back() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    let (io, told) = (reading(program(&edge, &edge.owner).await), events(&edge, &edge.owner).await);
    let line = console(&edge, &edge.owner).await;
    let (kept_io, kept_told) = (reading(program(&edge, &edge.admin).await), events(&edge, &edge.admin).await);
    // Nothing happens, and nothing ends; then the owner's token is taken back.
    edge.server.set_tokens(table(&[(Caller::admin("ops"), &edge.admin), (owner(), &edge.owner)]));
    tokio::task::yield_now().await;
    assert!(!io.is_finished() && !told.is_finished() && !line.is_finished(), "a table that says the same ends nothing");
    edge.server.set_tokens(table(&[(Caller::admin("ops"), &edge.admin)]));
    ends("the stream into the guest", io).await;
    ends("the stream of events", told).await;
    ends("the serial line", line).await;
    // Others do not notice.
    edge.vm("next").await;
    assert!(!kept_io.is_finished() && !kept_told.is_finished(), "a stream of another token ended");
}

#[tokio::test]
async fn ctl_6_4_a_token_that_says_another_owner_or_role_ends_what_the_old_one_opened() {
    for changed in [other(), Caller::admin("ada")] {
        let edge = Edge::start().await;
        edge.vm("web").await;
        let (io, told) = (reading(program(&edge, &edge.owner).await), events(&edge, &edge.owner).await);
        edge.server.set_tokens(table(&[(changed, &edge.owner)]));
        ends("the stream into the guest", io).await;
        ends("the stream of events", told).await;
    }
}

#[tokio::test]
async fn ctl_6_4_a_request_that_waits_is_refused_when_its_token_is_taken_back() {
    let edge = Edge::start().await;
    let head = format!("host: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n", edge.owner.expose());
    let address = edge.address;
    let after = edge.plane.last_event(&owner()).await.unwrap().0;
    let waits = tokio::spawn(async move {
        raw(address, format!("GET /v1/events?after={after}&wait=60s HTTP/1.1\r\n{head}").as_bytes()).await
    });
    // Under way, or not even there yet: it is refused in both cases.
    tokio::time::sleep(Duration::from_millis(200)).await;
    edge.server.set_tokens(TokenTable::default());
    assert_eq!(ends("the request", waits).await.status, 401);
}

#[tokio::test]
async fn ctl_6_4_what_was_accepted_goes_on_without_its_token() {
    let edge = Edge::start().await;
    let plane = edge.over_tcp(&edge.owner);
    let operation = plane.create(&owner(), &edge::new_vm("web"), None).await.unwrap();
    edge.server.set_tokens(TokenTable::default());
    let ended = edge.plane.operation(&owner(), operation.id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
}

#[tokio::test]
async fn ctl_5_7_a_stream_ends_with_the_vm_that_it_leads_into() {
    let ends_by = [
        ("destroyed", VmAction::Destroy(v1::DestroyVm::default())),
        ("stopped", VmAction::Stop(v1::StopVm::default())),
        ("restarted", VmAction::Restart(v1::RestartVm::default())),
    ];
    for (how, action) in ends_by {
        let edge = Edge::start().await;
        let vm = edge.vm("web").await;
        let (io, line) = (reading(program(&edge, &edge.owner).await), console(&edge, &edge.owner).await);
        let operation = edge.plane.act(&owner(), &VmRef::Id(vm.id), &action, None).await.unwrap();
        let ended = edge.plane.operation(&owner(), operation.id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded, "{how}");
        ends(how, io).await;
        ends(how, line).await;
    }
}

#[tokio::test]
async fn ctl_5_7_a_stream_outlives_a_new_name_and_the_old_one_leads_nowhere() {
    let edge = Edge::start().await;
    let vm = edge.vm("web").await;
    let io = reading(program(&edge, &edge.owner).await);
    let rename = VmAction::Rename(v1::RenameVm { name: "other".parse().unwrap() });
    let operation = edge.plane.act(&owner(), &VmRef::Id(vm.id), &rename, None).await.unwrap();
    edge.plane.operation(&owner(), operation.id, Duration::from_secs(20)).await.unwrap();
    assert!(!io.is_finished());
    let call = GuestCall::Exec(ExecRequest::new(["true"]));
    let error = edge.over_tcp(&edge.owner).open(&owner(), &"web".parse().unwrap(), &call).await.err().unwrap();
    assert_eq!(error.kind(), minions_core::ErrorKind::NotFound);
}
