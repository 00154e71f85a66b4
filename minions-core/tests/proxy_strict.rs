//! What the HTTPS proxy does with requests and answers that are not what they should be: a backend with a parser of its own
//! counts what reaches a VM.
#![cfg(all(feature = "proxy", feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;
mod proxy_rig;

use std::sync::Arc;
use std::time::Duration;

use proxy_rig::played::{Backend, Played};
use proxy_rig::{DOMAIN, Front, read, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn front(backend: &Arc<Backend>) -> Front {
    let backend = backend.clone();
    let front = Front::start_with(
        |settings| {
            settings.first_byte = Duration::from_millis(500);
            settings.body_idle = Duration::from_millis(500);
            settings.head = Duration::from_millis(500);
        },
        |plane| Arc::new(Played { plane, backend }),
    )
    .await;
    front.public("web").await;
    front
}

fn web() -> String {
    format!("web.{DOMAIN}")
}

/// How many answers a stream holds: each begins with a line of its own.
fn answers(head: &str, body: &[u8]) -> usize {
    let all = format!("{head}\r\n\r\n{}", String::from_utf8_lossy(body).to_ascii_lowercase());
    all.matches("http/1.1 ").count()
}

#[tokio::test]
async fn bad_17_a_vm_reads_as_many_requests_as_the_proxy_did() {
    let backend = Backend::ok();
    let front = front(&backend).await;
    let host = format!("Host: {}\r\n", web());
    // Each is followed by a request that must be read as itself or not at all, and by nobody as part of a body.
    let good = [
        format!("GET /a HTTP/1.1\r\n{host}\r\n"),
        format!("POST /a HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"),
        format!("POST /a HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        format!("POST /a HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n"),
        format!("POST /a HTTP/1.1\r\n{host}Content-Length: 31\r\n\r\nGET /secret HTTP/1.1\r\nHost: x\r\n"),
        format!("GET https://{}/a HTTP/1.1\r\n{host}\r\n", web()),
    ];
    let last = format!("GET /last HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    for request in good {
        let before = backend.count();
        let reply = front.raw(&web(), format!("{request}{last}").as_bytes()).await;
        assert_eq!((reply.status, answers(&reply.head, &reply.body)), (200, 2), "{request}: {reply:?}");
        assert_eq!(backend.count() - before, 2, "{request}");
        assert!(backend.heads.lock().unwrap().last().unwrap().starts_with("GET /last "), "{request}");
    }
    let post = |headers: &str, body: &str| format!("POST /a HTTP/1.1\r\n{host}{headers}\r\n{body}");
    let smuggled = "0\r\n\r\nGET /secret HTTP/1.1\r\nHost: x\r\n\r\n";
    let bad = [
        post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", smuggled),
        post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", smuggled),
        post("Transfer-Encoding: \x0bchunked\r\n", smuggled),
        post("Transfer-Encoding: xchunked\r\n", smuggled),
        post("Transfer-Encoding : chunked\r\n", smuggled),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", smuggled),
        post("Transfer-Encoding: identity, chunked\r\n", smuggled),
        post("X: y\r\n Transfer-Encoding: chunked\r\n", smuggled),
        post("X: y\nTransfer-Encoding: chunked\r\n", smuggled),
        post("X: y\rTransfer-Encoding: chunked\r\n", smuggled),
        post("Content-Length: 0x10\r\n", "0123456789abcdef"),
        post("Content-Length: +5\r\n", "hello"),
        post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        post("Content-Length: 5, 5\r\n", "hello"),
        post("Content-Length: 18446744073709551621\r\n", "hello"),
        post("Content-Length : 5\r\n", "hello"),
        format!("GET /a HTTP/1.1\n{host}\n\n"),
        format!("GET /a HTTP/1.1\r\n{host}Host: evil\r\n\r\n"),
        "GET /a HTTP/1.1\r\nX: y\r\n\r\n".to_owned(),
        format!("GET /a HTTP/1.1\r\nHost: {}.\r\n\r\n", web()),
        format!("GET /a HTTP/1.1\r\nHost: x@{}\r\n\r\n", web()),
        format!("GET https://evil/ HTTP/1.1\r\n{host}\r\n"),
        format!("GET  /a HTTP/1.1\r\n{host}\r\n"),
        format!("POST /a HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n{smuggled}"),
        format!("GET /a HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(65)),
        format!("GET /a HTTP/1.1\r\n{host}X: {}\r\n\r\n", "y".repeat(33 << 10)),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "y".repeat(33 << 10)),
        format!("CONNECT {}:443 HTTP/1.1\r\n{host}\r\n", web()),
        format!("TRACE / HTTP/1.1\r\n{host}\r\n"),
        format!("GET /a HTTP/1.1\r\n{host}X: \0\r\n\r\n"),
        "\x16\x03\x01 nonsense".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    for request in bad {
        let before = backend.count();
        let reply = front.raw(&web(), format!("{request}{last}").as_bytes()).await;
        assert!([0, 400, 405, 408, 414, 421, 431].contains(&reply.status), "{request:?}: {reply:?}");
        assert!(answers(&reply.head, &reply.body) <= 1, "{request:?}: {reply:?}");
        assert_eq!(backend.count(), before, "{request:?} reached the VM");
    }
    // A body that breaks: its request does not reach a VM whole, and what follows not at all.
    for body in
        ["5\nhello\r\n0\r\n\r\n", "5 \x01\r\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "fffffffffffffffff\r\n"]
    {
        let before = backend.count();
        let request = post("Transfer-Encoding: chunked\r\n", body);
        front.raw(&web(), format!("{request}{last}").as_bytes()).await;
        assert_eq!(backend.count(), before, "{body:?} was read as a whole request");
    }
    assert!(!backend.heads.lock().unwrap().iter().any(|head| head.contains("/secret")));
}

#[tokio::test]
async fn ctl_4_7_a_vm_is_sent_nothing_that_is_the_platforms() {
    let backend = Backend::ok();
    let front = front(&backend).await;
    let secret = token(1);
    let headers = format!(
        "cookie: a=1; __Host-minions={0}\r\nx-minions-token: {0}\r\nauthorization: bearer  {0}\r\nx-forwarded-for: 9.9.9.9\r\n",
        secret.expose()
    );
    assert_eq!(front.get("web", &headers).await.status, 200);
    let heads = backend.heads.lock().unwrap().join("\n");
    assert!(!heads.contains(secret.expose()) && !heads.contains("9.9.9.9") && heads.contains("a=1"), "{heads}");
}

#[tokio::test]
async fn ctl_4_3_a_tunnel_opens_when_the_vm_agrees_and_not_before() {
    let backend = Backend::new(|head| {
        let upgrade = if head.contains("/other") { "other" } else { "websocket" };
        match head.contains("/no") {
            true => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno".to_vec(),
            false => {
                format!("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n").into_bytes()
            }
        }
    });
    let front = front(&backend).await;
    let ask = |path: &str| {
        let host = web();
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
    };
    let mut stream = front.tls(&web(), &[b"http/1.1"]).await.unwrap();
    stream.write_all(ask("/").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    for bytes in [&b"\0\x01 no HTTP\r\n\n"[..], b"more"] {
        stream.write_all(bytes).await.unwrap();
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, bytes);
    }
    assert_eq!(front.raw(&web(), ask("/other").as_bytes()).await.status, 502, "not what was asked for");
    assert_eq!(front.raw(&web(), ask("/no").as_bytes()).await.status, 200, "the VM need not switch");
    let before = backend.count();
    let early = format!("{}GET /secret HTTP/1.1\r\nHost: x\r\n\r\n", ask("/"));
    assert_eq!(front.raw(&web(), early.as_bytes()).await.status, 400, "nothing may follow before the VM agrees");
    assert_eq!(backend.count(), before);
    // Who did not ask is not switched.
    assert_eq!(front.get("web", "").await.status, 502);
}

#[tokio::test]
async fn bad_19_an_answer_that_is_none_is_told_as_such() {
    let backend = Backend::new(|head| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let text = match path.as_str() {
            "/nothing" => String::new(),
            "/status" => "HTTP/1.1 9999 x\r\n\r\n".into(),
            "/garbage" => "hello\r\n\r\n".into(),
            "/lengths" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc".into(),
            "/endless" => format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(20_000)),
            "/flood" => "HTTP/1.1 100 Continue\r\n\r\n".repeat(5000),
            _ => "HTTP/1.1 200 OK\r\nalt-svc: h3=\":1\"\r\nset-cookie: a=1; Domain=box.test\r\ncontent-length: 2\r\n\r\nok".into(),
        };
        text.into_bytes()
    });
    let front = front(&backend).await;
    for (path, status) in [
        ("/nothing", 504),
        ("/status", 502),
        ("/garbage", 502),
        ("/lengths", 502),
        ("/endless", 502),
        ("/flood", 504),
        ("/fine", 200),
    ] {
        let reply = front.ask(&web(), path, "").await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert!(!reply.head.contains("alt-svc") && !reply.head.contains("set-cookie"), "{path}");
    }
}

#[tokio::test]
async fn ctl_4_1_who_is_too_slow_is_let_go() {
    let backend = Backend::ok();
    let front = front(&backend).await;
    let host = web();
    let late = Duration::from_secs(3);
    for begun in ["", "GET / HT", &format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhe")] {
        let mut stream = front.tls(&host, &[b"http/1.1"]).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        tokio::time::timeout(late, read(&mut stream)).await.unwrap_or_else(|_| panic!("{begun:?} is waited for"));
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn connections_on_which_a_vm_reads_no_more_hold_up_nobody() {
    let backend = Backend::ok();
    let front = front(&backend).await;
    let host = web();
    let size = 1 << 20;
    let head = format!("POST /eager HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n");
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut stream = front.tls(&host, &[b"http/1.1"]).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut from, mut to) = tokio::io::split(stream);
        let sending = tokio::spawn(async move { to.write_all(&vec![b'x'; size]).await });
        let mut answer = [0; 12];
        from.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        kept.push((from, sending));
    }
    // Waiting for one of them would take five seconds, the time that the way into a VM may take.
    let asked = tokio::time::timeout(Duration::from_secs(3), front.ask(&host, "/", "")).await;
    assert_eq!(asked.expect("nobody waits for them").status, 200);
}
