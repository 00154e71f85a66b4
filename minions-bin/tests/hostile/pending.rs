//! A server that never comes to an end, and answers at once.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const VM: &str = "vm_00000000000000000000000001";

/// What it says, whatever it is asked to wait for.
fn answer(request: &str) -> String {
    let image = format!("img_{}", "ab".repeat(32));
    let vm = format!(
        r#"{{"id":"{VM}","name":"web","owner":"o","state":"stopping","since":0,"last_progress":0,"goal":"stopped",
        "generation":1,"image":"{image}","cpus":1,"memory":1,"disk":1,"data_disk":0,"created":0}}"#
    );
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    if path.starts_with("/v1/events") {
        return r#"{"events":[],"next":1}"#.to_owned();
    }
    if request.starts_with("POST") || path.starts_with("/v1/operations/") {
        let verb = if path == "/v1/vms" { "create" } else { path.rsplit('/').next().unwrap_or_default() };
        let verb = if verb.starts_with("op_") { "stop" } else { verb };
        let id = "op_00000000000000000000000001";
        return format!(r#"{{"id":"{id}","verb":"{verb}","vm":"{VM}","state":"pending","created":0}}"#);
    }
    vm
}

/// Serves on a port of its own, for as long as the test's process lives. Returns its URL, and how often it was asked.
pub fn start() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut from = BufReader::new(stream.try_clone().unwrap());
                let mut to = stream;
                loop {
                    let (mut head, mut length) = (String::new(), 0);
                    let mut line = String::new();
                    while from.read_line(&mut line).is_ok_and(|count| count > 2) {
                        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        head.push_str(&line);
                        line.clear();
                    }
                    let mut body = vec![0; length];
                    if head.is_empty() || std::io::Read::read_exact(&mut from, &mut body).is_err() {
                        return;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    let body = answer(&head);
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
                    let _ = to.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes());
                }
            });
        }
    });
    (url, asked)
}
