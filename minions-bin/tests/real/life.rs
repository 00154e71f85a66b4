//! A VM from its beginning to its end.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use minions_core::service::ControlPlane;
use minions_core::types::VmId;

use crate::census;

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn a_vm_keeps_its_disks_over_stops_and_restarts_and_leaves_nothing_but_a_tombstone() {
    let Some((site, daemon)) = crate::service("life").await else { return };
    // The least that is admitted of both.
    site.ok(&["create", "web", "--cpus", "1", "--memory", "96MiB", "--disk", "512MiB", "--data-disk", "16MiB"]);
    let root = site.ok(&["exec", "web", "--", "cat", "/proc/mounts"]);
    assert!(root.contains("/dev/vda / ext4 ") && root.contains("/dev/vdb /data ext4 "), "{root}");
    let boot = || site.ok(&["exec", "web", "--", "cat", "/proc/sys/kernel/random/boot_id"]);
    let first = boot();
    site.ok(&["exec", "web", "--", "sh", "-c", "echo root > /kept; echo data > /data/kept"]);

    site.ok(&["stop", "web"]);
    let id: VmId = site.json(&["inspect", "web", "--json"])["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(census::of(&site.dir(), id), [], "a stopped VM has no process");
    site.ok(&["start", "web"]);
    assert_eq!(site.ok(&["exec", "web", "--", "cat", "/kept", "/data/kept"]), "root\ndata\n");
    let second = boot();
    site.ok(&["restart", "web"]);
    assert_eq!(site.ok(&["exec", "web", "--", "cat", "/kept", "/data/kept"]), "root\ndata\n");
    let third = boot();
    assert!(first != second && second != third && first != third, "{first} {second} {third}");

    let own: BTreeSet<VmId> = [id].into();
    site.ok(&["destroy", "web", "--yes"]);
    assert_eq!(site.json(&["list", "--json"])["vms"], serde_json::json!([]));
    let tombstone = &site.json(&["list", "--deleted", "--json"])["vms"][0];
    assert_eq!((tombstone["name"].as_str(), tombstone["id"].as_str()), (Some("web"), Some(id.to_string().as_str())));
    daemon.end();
    assert_eq!(census::differences(&site.dir(), &BTreeSet::new(), &BTreeSet::new()).await, Vec::<String>::new());
    // The census sees what it looks for.
    assert!(!census::differences(&site.dir(), &own, &BTreeSet::new()).await.is_empty());
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let dir = site.dir().display().to_string();
    let left: Vec<&str> = sockets.lines().filter(|line| line.contains(&dir)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn a_server_on_the_guests_own_loopback_is_reached_through_a_forward() {
    let Some((site, daemon)) = crate::service("forward").await else { return };
    site.create("web").await;
    let serve = "mkdir -p /srv && echo hello from the guest > /srv/index.html && httpd -p 127.0.0.1:8080 -h /srv";
    site.ok(&["exec", "web", "--", "sh", "-c", serve]);
    let mut command = site.command(&["port-forward", "web", "0:8080", "--json"]);
    let mut forward = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(forward.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(said["local"].as_str().unwrap()).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("200 OK") && answer.ends_with("hello from the guest\n"), "{answer}");
    }
    crate::daemon::signal(&forward, rustix::process::Signal::INT);
    assert!(forward.wait().unwrap().success());
    daemon.end();
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn a_guest_that_powers_itself_off_is_started_again_and_its_last_words_can_be_read() {
    let Some((site, daemon)) = crate::service("poweroff").await else { return };
    site.create("web").await;
    let last = site.plane.last_event(&crate::daemon::me()).await.unwrap();
    site.ok(&["exec", "web", "--", "sh", "-c", "echo these are my last words > /dev/ttyS0; poweroff -f > /dev/null &"]);
    site.runs_again(last).await;
    let log = site.ok(&["logs", "web"]);
    let (before, after) = log.split_once("these are my last words").unwrap_or_else(|| panic!("{log}"));
    assert!(after.contains("Power down"), "{before}|{after}");
    assert_eq!(site.json(&["inspect", "web", "--json"])["restarts"], 1);
    daemon.end();
}
