//! `minions events` as people leave it running.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde_json::Value;

use super::service::{Service, on_qemu, ready, serve};

/// Somebody who watches.
struct Watch {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    err: BufReader<std::process::ChildStderr>,
    /// Dropped when the test is over.
    _watchdog: Sender<()>,
}

/// How long whoever is watched may be silent altogether: a test that waits for a word that never comes fails.
const SILENCE: Duration = Duration::from_secs(60);

impl Watch {
    fn start(service: &Service, words: &[&str]) -> Self {
        let mut command = service.command(&[&["events", "-f"], words].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let err = BufReader::new(child.stderr.take().unwrap());
        let id = child.id().to_string();
        let (watchdog, is_over) = channel::<()>();
        std::thread::spawn(move || {
            if is_over.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        Self { child, out, err, _watchdog: watchdog }
    }

    fn said(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.err.read_line(&mut line).unwrap(), 0, "nothing more is said");
        line
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.out.read_line(&mut line).unwrap(), 0, "nothing more is told");
        line
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_follows_the_events_sees_what_comes_and_goes_on_after_the_service_was_away() {
    if on_qemu() {
        return;
    }
    let mut service = Service::start();
    service.ok(&["create", "old"]);
    let mut watch = Watch::start(&service, &[]);
    assert!(watch.said().starts_with("what happens after event "));
    service.ok(&["create", "new"]);
    let first = watch.line();
    assert!(first.contains("new") && first.contains("create accepted"), "only what comes: {first}");
    while !watch.line().contains("create done") {}

    service.signal("KILL");
    service.child.wait().unwrap();
    assert!(watch.said().starts_with("no word of the service"));
    service.child = serve(service.dir.path(), &[]);
    ready(&mut service.child);
    assert!(watch.said().starts_with("the service is back; on after event "));
    service.ok(&["destroy", "old", "--yes"]);
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|line: &String| line.contains("old") && line.contains("is gone")) {
        seen.push(watch.line());
    }
    let mut places: Vec<u64> =
        seen.iter().map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    let kept: Vec<u64> = service
        .ok(&["events", "--after", &(places[0] - 1).to_string(), "--json"])
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    places.truncate(kept.len());
    assert_eq!(places, kept[..places.len()], "none twice, and none missed");
}

#[test]
fn a_follower_may_begin_with_what_is_kept_and_a_reader_with_what_comes() {
    let service = Service::start();
    service.ok(&["create", "web", "--no-wait"]);
    let mut watch = Watch::start(&service, &["--after", "start", "--json"]);
    let first: Value = serde_json::from_str(&watch.line()).unwrap();
    assert_eq!((&first["seq"], &first["kind"]), (&1.into(), &"accepted".into()));
    service.ok(&["wait", "web"]);
    assert_eq!(service.ok(&["events", "--after", "now"]), "");
    assert!(service.ok(&["events", "--after", "1"]).lines().count() >= 3);
}

#[test]
fn a_state_is_told_once() {
    let service = Service::start();
    for name in ["a", "b", "c"] {
        service.ok(&["create", name]);
        service.ok(&["restart", name]);
        service.ok(&["destroy", name, "--yes"]);
    }
    let mut told: std::collections::HashMap<String, String> = std::collections::HashMap::new();
    for line in service.ok(&["events", "--json"]).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if event["kind"] == "state" {
            let (name, state) = (event["name"].to_string(), event["state"].to_string());
            assert_ne!(told.insert(name, state.clone()), Some(state), "{line}");
        }
    }
    assert_eq!(told.len(), 3);
}
