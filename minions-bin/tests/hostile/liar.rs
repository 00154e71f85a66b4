//! Servers that are none of ours.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::corpus::evil;

/// What a server answers, whatever it is asked: its bytes, and whether they go on for ever.
pub type Lie = (Vec<u8>, bool);

fn http(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.to_vec()].concat()
}

pub fn lies() -> Vec<(&'static str, Lie)> {
    let (json, problem) = ("application/json", "application/problem+json");
    let name = serde_json::json!({ "id": evil(), "name": evil(), "vms": [{ "name": evil() }], "images": evil(), "next": evil() });
    let long = serde_json::json!({ "kind": "denied", "message": evil().repeat(500), "status": 409, "field": evil() });
    let other = serde_json::json!({ "kind": evil(), "message": evil(), "status": 99 });
    let redirect = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\x1b[2J\r\ncontent-length: 0\r\n\r\n";
    vec![
        ("JSON with escapes in every text", (http("200 OK", json, name.to_string().as_bytes()), false)),
        ("no JSON", (http("200 OK", json, evil().as_bytes()), false)),
        ("a problem of a megabyte", (http("409 Conflict", problem, long.to_string().as_bytes()), false)),
        ("a problem of no kind", (http("409 Conflict", problem, other.to_string().as_bytes()), false)),
        ("a page for people", (http("502 Bad Gateway", "text/html", b"<html>\x1b[2J</html>"), false)),
        ("a redirect", (redirect.to_vec(), false)),
        ("another protocol", (b"SSH-2.0-OpenSSH_9.2\x1b[2J\r\n".to_vec(), false)),
        ("nothing", (Vec::new(), false)),
        ("a body without end", ([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b' '; 1 << 16]].concat(), true)),
    ]
}

/// Answers every connection with the same lie; returns its URL.
pub fn start((answer, endless): Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                while stream.write_all(&answer).is_ok() && endless {}
            });
        }
    });
    url
}
