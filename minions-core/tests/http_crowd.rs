//! What clients that never speak, never read or never end do to the server: nothing to anybody else.
#![cfg(all(feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;

use std::time::Duration;

use edge::{Edge, owner, raw};
use minions_core::ErrorKind;
use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::http::client::{Endpoint, HttpControlPlane};
use minions_core::http::server::Listener;
use minions_core::service::{ControlPlane, VmRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_client_that_never_says_a_word_is_let_go() {
    let edge = Edge::start_with(|settings| settings.read_timeout = Duration::from_millis(200)).await;
    for sent in ["", "GET", "GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await;
        ended.expect("the server lets go").unwrap();
    }
    // Between two requests, too.
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await.expect("the server lets go").unwrap();
}

#[tokio::test]
async fn a_crowd_at_the_network_keeps_nobody_from_the_local_socket() {
    let edge = Edge::start_with(|settings| settings.max_connections = 2).await;
    let mut crowd = Vec::new();
    for place in 0..8 {
        let mut one = TcpStream::connect(edge.address).await.unwrap();
        if place < 2 {
            // Served once and kept open: both places are taken for certain.
            one.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            tokio::time::timeout(SOON, one.read_exact(&mut [0; 12])).await.expect("it is served").unwrap();
        }
        crowd.push(one);
    }
    let asked = tokio::time::timeout(SOON, edge.over_unix().vms(&owner(), &v1::ListVms::default())).await;
    assert_eq!(asked.expect("the operator is served").unwrap().vms, []);
    assert_eq!(raw(edge.private, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.status, 200);
    drop(crowd);
}

#[tokio::test]
async fn a_client_that_never_reads_is_let_go_and_its_place_is_anothers() {
    let edge = Edge::start_with(|settings| {
        settings.max_connections = 1;
        settings.write_timeout = Duration::from_millis(300);
    })
    .await;
    let mut greedy = TcpStream::connect(edge.address).await.unwrap();
    // Answers of many megabytes: no buffer on the way holds them.
    let request = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2_000);
    let asking = tokio::spawn(async move {
        let _ = greedy.write_all(&request).await;
        greedy
    });
    let reply = tokio::time::timeout(SOON, edge.ask(Some(&edge.owner), "GET", "/v1/vms", None)).await;
    assert_eq!(reply.expect("the place is free again").status, 200);
    asking.abort();
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let edge = Edge::start().await;
    let ask = |lines: String| {
        let request = format!("GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n");
        let address = edge.address;
        async move { raw(address, request.as_bytes()).await.status }
    };
    assert_eq!(ask((0..50).map(|number| format!("x-{number}: y\r\n")).collect()).await, 200);
    assert_eq!(ask((0..80).map(|number| format!("x-{number}: y\r\n")).collect()).await, 431);
    assert_eq!(ask(format!("x: {}\r\n", "y".repeat(64 << 10))).await, 431);
    assert_eq!(ask("x y\r\n".to_owned()).await, 400);
    assert_eq!(ask("x: a\r\n b\r\n".to_owned()).await, 400, "a folded line");
}

#[tokio::test]
async fn a_request_hidden_in_another_is_not_heard() {
    let edge = Edge::start().await;
    let token = edge.owner.expose();
    let body = r#"{"name":"hidden"}"#;
    let hidden = format!(
        "POST /v1/vms HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let length = hidden.len();
    for (what, framing, before) in [
        ("two lengths", format!("content-length: 0\r\ncontent-length: {length}\r\n"), ""),
        ("a length in hexadecimal", format!("content-length: 0x{length:x}\r\n"), ""),
        ("a length with a sign", format!("content-length: +{length}\r\n"), ""),
        ("a list of lengths", format!("content-length: 0, {length}\r\n"), ""),
        ("an unknown encoding", "transfer-encoding: xchunked\r\n".to_owned(), "0\r\n\r\n"),
        ("an encoding behind a control", "transfer-encoding: \x0bchunked\r\n".to_owned(), "0\r\n\r\n"),
        ("chunked, but not last", "transfer-encoding: chunked, identity\r\n".to_owned(), "0\r\n\r\n"),
        ("a chunk of no size", "transfer-encoding: chunked\r\n".to_owned(), "x\r\n\r\n"),
        ("a chunk of too much", "transfer-encoding: chunked\r\n".to_owned(), "fffffffffffffffff\r\n\r\n"),
    ] {
        let request = format!("GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n{framing}\r\n{before}{hidden}");
        let reply = raw(edge.address, request.as_bytes()).await;
        let answers = String::from_utf8_lossy(&reply.body).matches("HTTP/1.1 ").count();
        assert_eq!(answers, 0, "{what}: {reply:?}");
        assert!(edge.plane.vms(&owner(), &v1::ListVms::default()).await.unwrap().vms.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_socket_that_somebody_answers_is_not_taken_away_and_a_leftover_is_replaced() {
    let edge = Edge::start().await;
    let error = Listener::unix(&edge.socket).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Conflict, Some("in_use")), "{}", error.chain());
    edge.over_unix().vms(&owner(), &v1::ListVms::default()).await.expect("it is served as before");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::unix(&path).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(listener);
    assert!(!path.exists());
    std::fs::write(&path, "not a socket").unwrap();
    assert_eq!(Listener::unix(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a socket");
}

#[tokio::test(start_paused = true)]
async fn bad_13_a_server_that_dribbles_is_given_up_after_a_time_in_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let plane = HttpControlPlane::new(Endpoint::Tcp(address.to_string()), None);
    let began = tokio::time::Instant::now();
    let error = plane.host(&owner()).await.unwrap_err();
    // Time runs as fast as it can here: what counts is that the bytes in between did not move the end.
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{}", error.chain());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_tenants_streams_leave_room_for_the_others() {
    let edge = Edge::start_with(|settings| settings.max_streams = 8).await;
    edge.vm("web").await;
    let sleep = GuestCall::Exec(ExecRequest::new(["sleep", "1000"]));
    let web: VmRef = "web".parse().unwrap();
    let plane = edge.over_tcp(&edge.owner);
    let mut held = Vec::new();
    held.push(plane.open(&owner(), &web, &sleep).await.expect("a quarter of 8"));
    let console = plane.console(&owner(), &web, 0).await.expect("a console is one like any other");
    for error in [
        plane.open(&owner(), &web, &sleep).await.err().expect("it is used up"),
        plane.console(&owner(), &web, 0).await.err().expect("it is used up"),
    ] {
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("rate")), "{}", error.chain());
    }
    edge.over_unix().open(&owner(), &web, &sleep).await.expect("the operator comes in");
    edge.over_unix().console(&owner(), &web, 0).await.expect("the operator comes in");
    drop((held, console));
    // The server notices that they are gone when it next looks.
    let freed = async { while plane.open(&owner(), &web, &sleep).await.is_err() {} };
    tokio::time::timeout(SOON, freed).await.expect("what was held is free again");
}
