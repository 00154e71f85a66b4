//! What the server does with callers, good and bad; and what the client does with servers.
#![cfg(all(feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;

use std::time::Duration;

use edge::{Edge, new_vm, other, owner, raw};
use minions_core::ErrorKind;
use minions_core::api::v1;
use minions_core::http::client::{Endpoint, HttpControlPlane};
use minions_core::http::server::{Access, Listener, routes};
use minions_core::http::token::TokenTable;
use minions_core::service::{Caller, ControlPlane, Directory, VmAction, VmRef};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A body that makes sense for a route, so that only its caller decides.
fn body(path: &str) -> Option<&'static str> {
    match path {
        "/v1/vms" => Some(r#"{"name":"other"}"#),
        "/v1/vms/{vm}/rename" => Some(r#"{"name":"renamed"}"#),
        "/v1/vms/{vm}/resize" => Some(r#"{"cpus":2}"#),
        "/v1/images" => Some(
            r#"{"id":"img_0000000000000000000000000000000000000000000000000000000000000000","name":"x","root":"/x","kernel":"/x","initrd":"/x"}"#,
        ),
        "/v1/users" => Some(r#"{"name":"eve"}"#),
        "/v1/users/{user}/keys" => Some(r#"{"fingerprint":"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#),
        _ => None,
    }
}

/// What nobody but an admin may ask.
fn of_admins(method: &str, path: &str) -> bool {
    match path {
        "/v1/images" | "/v1/images/{id}" => method != "GET",
        "/v1/users" | "/v1/audit" => true,
        "/v1/users/{user}" => method != "GET",
        _ => false,
    }
}

#[tokio::test]
async fn ctl_6_1_every_route_decides_by_its_caller() {
    let absent = v1::Problem::from(&minions_core::Error::not_found("there is no such VM; see `minions list`"));
    for route in routes() {
        let edge = Edge::start().await;
        let vm = edge.vm("web").await;
        let operation = edge.plane.act(&owner(), &VmRef::Id(vm.id), &stop(), None).await.unwrap();
        edge.plane.operation(&owner(), operation.id, Duration::from_secs(20)).await.unwrap();
        let path = match route.path {
            "/v1/vms/{vm}/visit" => format!("/v1/vms/{}/visit?port=80", vm.id),
            path => path.replace("{vm}", "web"),
        };
        let path = if route.path.starts_with("/v1/images") {
            path.replace("{id}", &format!("img_{}", "0".repeat(64)))
        } else {
            path.replace("{id}", &operation.id.to_string())
        };
        let user = v1::AddUser { name: owner().owner.0.parse().unwrap(), admin: false };
        edge.accounts.add_user(&Caller::admin("ops"), &user).await.unwrap();
        let path = path.replace("{user}", &owner().owner.0).replace("{token}", "tok_00000000000000000000000001");
        let body = match (route.method, route.path) {
            ("GET", _) => None,
            ("POST", "/v1/users/{user}/keys") => Some(r#"{"key":"none"}"#),
            (_, path) => body(path),
        };
        let what = format!("{} {}", route.method, route.path);
        let send = |who| edge.ask(who, route.method, &path, body);

        // A socket on the network shows no probes, not even to an admin.
        if route.access == Access::Probe {
            assert_eq!(send(Some(&edge.admin)).await.status, 404, "{what}");
            continue;
        }
        let anonymous = send(None).await;
        if route.access == Access::Public {
            assert_eq!(anonymous.status, 200, "{what}");
            continue;
        }
        assert_eq!((anonymous.status, anonymous.problem().kind), (401, ErrorKind::Unauthenticated), "{what}");

        let stranger = send(Some(&edge.other)).await;
        match route.path {
            path if path.contains("{vm}") => {
                assert_eq!((stranger.status, stranger.problem()), (404, absent.clone()), "{what}");
            }
            "/v1/operations/{id}" => assert_eq!(stranger.status, 404, "{what}"),
            path if of_admins(route.method, path) => assert_eq!(stranger.status, 403, "{what}"),
            path if path.contains("{user}") => {
                assert_eq!(
                    (stranger.status, stranger.problem().reason.as_deref()),
                    (404, Some("user_unknown")),
                    "{what}"
                );
            }
            _ => {
                assert!(stranger.status < 300, "{what}: {stranger:?}");
                let text = String::from_utf8_lossy(&stranger.body);
                assert!(!text.contains(&vm.id.to_string()), "{what} tells a stranger of the VM: {text}");
            }
        }
        assert_eq!(edge.plane.vm(&owner(), &VmRef::Id(vm.id)).await.unwrap().name.as_str(), "web", "{what}");

        if route.path.starts_with("/v1/vms/{vm}") {
            let share = VmAction::Share(v1::ShareVm { add: vec![other().owner.0], ..v1::ShareVm::default() });
            let shared = edge.plane.act(&owner(), &VmRef::Id(vm.id), &share, None).await.unwrap();
            edge.plane.operation(&owner(), shared.id, Duration::from_secs(20)).await.unwrap();
            let guest = send(Some(&edge.other)).await;
            let allowed = match (route.method, route.path) {
                ("GET", "/v1/vms/{vm}") => 200,
                // The rights are looked at when the WebSocket says what it wants.
                (_, "/v1/vms/{vm}/open" | "/v1/vms/{vm}/console" | "/v1/vms/{vm}/visit") => 400,
                _ => 403,
            };
            assert_eq!(guest.status, allowed, "{what} for whom it is shared with: {guest:?}");
        }

        for (who, token) in [("owner", &edge.owner), ("admin", &edge.admin)] {
            let reply = send(Some(token)).await;
            if of_admins(route.method, route.path) && who == "owner" {
                assert_eq!(reply.status, 403, "{what} as {who}");
            } else {
                assert!(![401, 403].contains(&reply.status), "{what} as {who}: {reply:?}");
            }
            // What changed the VM for the owner would be in the admin's way.
            if route.mutates {
                break;
            }
        }
    }
}

fn stop() -> minions_core::service::VmAction {
    minions_core::service::VmAction::Stop(v1::StopVm::default())
}

#[tokio::test]
async fn bad_9_a_vm_of_another_looks_like_none_whatever_is_asked_for() {
    let edge = Edge::start().await;
    let vm = edge.vm("web").await;
    let mut answers = Vec::new();
    let operation = vm.id.to_string().replace("vm_", "op_");
    for reference in
        ["web", &vm.id.to_string(), "nobody", "vm_00000000000000000000000000", &operation, "%2e%2e", "WEB", "a--b"]
    {
        let reply = edge.ask(Some(&edge.other), "GET", &format!("/v1/vms/{reference}"), None).await;
        answers.push((reply.status, reply.body));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, 404);
}

#[tokio::test]
async fn bad_7_bodies_that_are_no_request_are_refused_and_have_no_effect() {
    let edge = Edge::start().await;
    let send = |kind: &str, extra: &str, body: Vec<u8>| {
        let head = format!(
            "POST /v1/vms HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-type: {kind}\r\n{extra}content-length: {}\r\n\r\n",
            edge.owner.expose(),
            body.len()
        );
        let address = edge.address;
        async move { raw(address, &[head.into_bytes(), body].concat()).await }
    };
    let good = br#"{"name":"web"}"#.to_vec();
    let json = "application/json";
    let large = format!(r#"{{"name":"web","image":"{}"}}"#, "x".repeat(64 << 10)).into_bytes();
    let deep = format!(r#"{{"name":"web","image":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000)).into_bytes();
    for (what, reply, status) in [
        ("bad UTF-8", send(json, "", b"{\"name\":\"w\xff\"}".to_vec()).await, 400),
        ("twice the key", send(json, "", br#"{"name":"web","name":"web"}"#.to_vec()).await, 400),
        ("unknown field", send(json, "", br#"{"name":"web","x":1}"#.to_vec()).await, 400),
        ("deep", send(json, "", deep).await, 400),
        ("garbage after it", send(json, "", br#"{"name":"web"} {}"#.to_vec()).await, 400),
        ("an array", send(json, "", b"[]".to_vec()).await, 400),
        ("too large", send(json, "", large).await, 413),
        ("another type", send("text/plain", "", good.clone()).await, 415),
        ("a form", send("application/x-www-form-urlencoded", "", good.clone()).await, 415),
        ("compressed", send(json, "content-encoding: gzip\r\n", good.clone()).await, 415),
    ] {
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert_eq!(reply.problem().kind, ErrorKind::InvalidArgument, "{what}");
        assert!(reply.head.contains("application/problem+json"), "{what}");
    }
    assert!(edge.plane.vms(&owner(), &v1::ListVms::default()).await.unwrap().vms.is_empty());
    assert_eq!(send("application/json; charset=utf-8", "", good).await.status, 202);
}

#[tokio::test]
async fn bad_8_whoever_does_not_say_who_they_are_is_refused() {
    let edge = Edge::start().await;
    let token = edge.owner.expose();
    let long = format!("authorization: Bearer mnt_{}\r\n", "a".repeat(8 << 10));
    let wrong = format!("authorization: Bearer mnt_{}\r\n", "0".repeat(64));
    for lines in [
        "",
        "authorization: Bearer\r\n",
        "authorization: Bearer \r\n",
        "authorization: Basic YTpi\r\n",
        &format!("authorization: bearer{token}\r\n"),
        &format!("authorization: {token}\r\n"),
        &format!("authorization: Bearer {token}x\r\n"),
        &format!("authorization: Bearer {token}\r\nauthorization: Bearer {token}\r\n"),
        &wrong,
        &long,
    ] {
        let request = format!("GET /v1/vms HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n");
        let reply = raw(edge.address, request.as_bytes()).await;
        assert_eq!(reply.status, 401, "{}", &lines[..lines.len().min(60)]);
        assert!(reply.head.contains("www-authenticate: bearer"));
        assert!(!String::from_utf8_lossy(&reply.body).contains(token));
    }
    let zero = format!("GET /v1/vms HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \0{token}\r\n\r\n");
    assert_eq!(raw(edge.address, zero.as_bytes()).await.status, 400);
}

#[tokio::test]
async fn ctl_6_4_a_token_that_was_taken_back_is_refused_at_once() {
    let edge = Edge::start().await;
    assert_eq!(edge.ask(Some(&edge.owner), "GET", "/v1/vms", None).await.status, 200);
    edge.server.set_tokens(TokenTable::default());
    assert_eq!(edge.ask(Some(&edge.owner), "GET", "/v1/vms", None).await.status, 401);
}

#[tokio::test]
async fn ctl_6_4_the_server_does_not_listen_where_anyone_could_come_in() {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    for (address, tokens, plaintext, good) in [
        (loopback, false, false, false),
        (loopback, true, false, true),
        (everywhere, false, true, false),
        (everywhere, true, false, false),
        (everywhere, true, true, true),
    ] {
        let listener = Listener::network(address, tokens, plaintext).await;
        assert_eq!(listener.is_ok(), good, "{address} {tokens} {plaintext}");
    }
    assert!(Listener::private(everywhere, false).await.is_err());
    assert!(Listener::private(loopback, false).await.is_ok());
    let error = Listener::private(loopback, true).await.expect_err("guests would read them");
    assert!(error.kind() == ErrorKind::Denied && error.message().contains("UNIX socket"), "{error}");
}

#[tokio::test]
async fn another_user_of_this_machine_is_refused_at_the_socket() {
    let edge = Edge::start_with(|settings| settings.admin_uids.clear()).await;
    let error = edge.over_unix().vms(&owner(), &v1::ListVms::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&edge.socket).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn bad_11_pages_cursors_and_waits_that_cannot_be_are_refused_with_their_field() {
    let edge = Edge::start().await;
    for (path, field) in [
        ("/v1/vms?limit=0", "limit"),
        ("/v1/vms?limit=1000000000", "limit"),
        ("/v1/vms?limit=x", "limit"),
        ("/v1/vms?limit=1&limit=2", "limit"),
        ("/v1/vms?cursor=x", "cursor"),
        ("/v1/vms?owner=bob", "owner"),
        ("/v1/events?limit=201", "limit"),
        ("/v1/events?after=-1", "after"),
        ("/v1/events?wait=forever", "wait"),
        ("/v1/events?wait=61s", "wait"),
    ] {
        let reply = edge.ask(Some(&edge.owner), "GET", path, None).await;
        assert_eq!(reply.status, 400, "{path}");
        assert_eq!(reply.problem().field.as_deref(), Some(field), "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn bad_10_one_key_at_the_same_time_has_one_effect() {
    let edge = Edge::start().await;
    let plane = std::sync::Arc::new(edge.over_tcp(&edge.owner));
    let key: minions_core::service::IdempotencyKey = "same".parse().unwrap();
    let asked = (0..16).map(|_| {
        let (plane, key) = (plane.clone(), key.clone());
        tokio::spawn(async move { plane.create(&owner(), &new_vm("web"), Some(&key)).await.unwrap().id })
    });
    let mut ids = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        ids.push(asked.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(plane.vms(&owner(), &v1::ListVms::default()).await.unwrap().vms.len(), 1);
    let request = format!(
        "POST /v1/vms HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\nidempotency-key: same\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{{\"name\":\"other\"}}",
        edge.owner.expose()
    );
    assert_eq!(raw(edge.address, request.as_bytes()).await.status, 422);
}

#[tokio::test]
async fn a_mutation_is_202_while_it_is_under_way_and_200_when_it_was_awaited() {
    let edge = Edge::start().await;
    let reply = edge.ask(Some(&edge.owner), "POST", "/v1/vms?wait=20s", Some(r#"{"name":"web"}"#)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["state"], "succeeded");
    let reply = edge.ask(Some(&edge.owner), "DELETE", "/v1/vms/web", None).await;
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert!(reply.head.contains(&format!("location: /v1/operations/{id}")), "{}", reply.head);
    let reply = edge.ask(Some(&edge.owner), "GET", &format!("/v1/operations/{id}?wait=20s"), None).await;
    assert_eq!((reply.status, reply.json()["state"].as_str()), (200, Some("succeeded")));
}

#[tokio::test]
async fn a_client_that_hangs_up_changes_nothing_about_what_it_asked_for() {
    let edge = Edge::start().await;
    let body = r#"{"name":"web"}"#;
    let request = format!(
        "POST /v1/vms?wait=60s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        edge.owner.expose(),
        body.len()
    );
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    let mut after = minions_core::types::EventSeq(0);
    loop {
        let page = edge.plane.events(&owner(), after, 100, Duration::from_secs(20)).await.unwrap();
        assert!(!page.events.is_empty(), "the VM was never made");
        let running = |event: &v1::Event| {
            matches!(event.body, v1::EventBody::State { state: minions_core::types::VmState::Running, .. })
        };
        if page.events.iter().any(running) {
            break;
        }
        after = page.next;
    }
}

#[tokio::test]
async fn a_page_or_a_stream_of_events_that_are_no_longer_kept_is_gone() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    edge.forget().await;
    let reply = edge.ask(Some(&edge.owner), "GET", "/v1/events?after=1", None).await;
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (410, Some("events_pruned")));
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\nlast-event-id: 1\r\n\r\n",
        edge.owner.expose(),
    );
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 410 "), "{line}");
}

#[tokio::test]
async fn a_stream_of_events_goes_on_where_its_reader_was() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    let all = edge.plane.events(&owner(), minions_core::types::EventSeq(0), 100, Duration::ZERO).await.unwrap().events;
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\nlast-event-id: {}\r\n\r\n",
        edge.owner.expose(),
        all[0].seq.0
    );
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut seen = Vec::new();
    while seen.len() < all.len() - 1 {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.unwrap().unwrap().unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            seen.push(serde_json::from_str::<v1::Event>(data).unwrap());
        }
    }
    assert_eq!(seen, all[1..]);
}

#[tokio::test]
async fn probes_are_behind_the_private_door_and_the_api_is_not() {
    let edge = Edge::start().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes();
    assert_eq!(raw(edge.private, &get("/healthz")).await.status, 200);
    assert_eq!(raw(edge.private, &get("/readyz")).await.status, 200);
    edge.server.set_ready(false);
    assert_eq!(raw(edge.private, &get("/readyz")).await.status, 503);
    assert_eq!(raw(edge.private, &get("/v1/vms")).await.status, 404);
    edge.ask(Some(&edge.owner), "GET", "/v1/vms/secret-name", None).await;
    let text = String::from_utf8(raw(edge.private, &get("/metrics")).await.body).unwrap();
    assert!(text.contains(r#"route="/v1/vms/{vm}",method="GET",status="404""#), "{text}");
    assert!(!text.contains("secret-name"));
}

#[tokio::test]
async fn a_way_that_is_not_there_and_a_method_that_is_not_are_told_apart() {
    let edge = Edge::start().await;
    assert_eq!(edge.ask(None, "GET", "/v2/vms", None).await.status, 404);
    let reply = edge.ask(Some(&edge.owner), "PUT", "/v1/vms", None).await;
    assert_eq!(reply.status, 405);
    assert_eq!(edge.ask(None, "GET", "/v1/openapi.json", None).await.json()["openapi"], "3.1.0");
    let page = edge.ask(None, "GET", "/v1/docs", None).await;
    assert!(page.head.contains("default-src 'none'") && !String::from_utf8_lossy(&page.body).contains("http://"));
}

#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_let_go() {
    let edge = Edge::start_with(|settings| settings.read_timeout = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(b"GET /v1/vms HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.expect("let go").unwrap();
}

#[tokio::test]
async fn bad_29_a_server_that_ends_lets_streams_go_and_requests_finish() {
    let mut edge = Edge::start().await;
    edge.vm("web").await;
    let plane = edge.over_tcp(&edge.owner);
    let call = minions_core::api::guest::GuestCall::Exec(minions_core::api::guest::ExecRequest::new(["sleep", "1000"]));
    let mut io = plane.open(&owner(), &"web".parse().unwrap(), &call).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), edge.end()).await.expect("the server ends");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), io.read_to_end(&mut rest)).await.expect("the stream ends");
    assert_eq!(
        edge.plane.vm(&owner(), &"web".parse().unwrap()).await.unwrap().state,
        minions_core::types::VmState::Running
    );
}

#[tokio::test]
async fn bad_29_a_server_that_ends_waits_for_nobody_who_waits_for_events() {
    let mut edge = Edge::start_with(|settings| settings.drain = Duration::from_secs(300)).await;
    let place = edge.plane.last_event(&owner()).await.unwrap();
    let reader = edge.over_tcp(&edge.owner);
    let reads = tokio::spawn(async move { reader.events(&owner(), place, 10, Duration::from_secs(60)).await });
    // Under way, or not even there yet: the server ends in both cases.
    tokio::time::sleep(Duration::from_millis(200)).await;
    tokio::time::timeout(Duration::from_secs(20), edge.end()).await.expect("the server ends");
    match reads.await.unwrap() {
        Ok(page) => assert_eq!((page.events.len(), page.next), (0, place), "what it may go on from is told"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain()),
    }
}

/// A server that answers every connection with the same bytes, again and again.
async fn liar(answer: Vec<u8>, endless: bool) -> HttpControlPlane {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                while stream.write_all(&answer).await.is_ok() && endless {}
            });
        }
    });
    HttpControlPlane::new(Endpoint::Tcp(address.to_string()), None)
}

#[tokio::test]
async fn bad_13_servers_that_lie_are_bounded_and_not_believed() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let cases: [(&str, Vec<u8>, bool); 6] = [
        ("no JSON", format!("{ok}content-length: 5\r\n\r\nhello").into_bytes(), false),
        ("JSON of another kind", format!("{ok}content-length: 2\r\n\r\n{{}}").into_bytes(), false),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), false),
        (
            "a redirect",
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec(),
            false,
        ),
        ("a body without end", [format!("{ok}\r\n").into_bytes(), vec![b' '; 1 << 16]].concat(), true),
        ("half a body", format!("{ok}content-length: 500\r\n\r\n{{").into_bytes(), false),
    ];
    for (what, answer, endless) in cases {
        let plane = liar(answer, endless).await;
        let asked = tokio::time::timeout(Duration::from_secs(25), plane.host(&owner())).await;
        let error = asked.expect(what).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {}", error.chain());
    }
}

#[tokio::test]
async fn bad_13_a_mutation_whose_answer_is_lost_may_have_happened() {
    let plane = liar(b"garbage".to_vec(), false).await;
    let error = plane.create(&owner(), &new_vm("web"), None).await.unwrap_err();
    assert_eq!(error.effect(), minions_core::Effect::Unknown);
    let nobody = HttpControlPlane::new(Endpoint::Unix("/nonexistent/minions.sock".into()), None);
    let error = nobody.create(&owner(), &new_vm("web"), None).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, minions_core::Effect::None));
    assert!(error.chain().contains("minions serve"), "{}", error.chain());
}
