//! The command line as people and scripts use it: the real program against the real daemon.
//!
//! Runs on the in-memory host. The same suite runs on real VMs with `MINIONS_TEST_BACKEND=qemu`, which needs
//! `MINIONS_TEST_BIN` (a folder with the static `minions-agent`, and `vhost-device-vsock` where it is not installed) and
//! takes minutes. `MINIONS_TEST_KERNEL` is a folder with an unpacked kernel package; one is fetched without it.
#![cfg(feature = "minions")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "a test of a program starts it")]

mod console;
mod context;
mod desk;
mod events;
mod init;
mod misuse;
mod service;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use service::{Service, folder, on_qemu, ready, serve, signal_to};

const MINIONS: &str = env!("CARGO_BIN_EXE_minions");

#[test]
fn a_vm_is_created_entered_stopped_started_renamed_resized_and_destroyed() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    let kernel = service.ok(&["exec", "web", "--", "uname", "-r"]);
    let own = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(!kernel.trim().is_empty() && kernel.trim() != own.trim());
    service.ok(&["exec", "web", "--", "sh", "-c", "echo kept > /root/note"]);

    service.ok(&["stop", "web"]);
    assert_eq!(service.json(&["inspect", "web", "--json"])["state"], "stopped");
    service.ok(&["resize", "web", "--memory", "192MiB"]);
    service.ok(&["start", "web"]);
    assert_eq!(service.ok(&["exec", "web", "--", "cat", "/root/note"]).trim(), "kept");
    // What runs is told apart from what shall run.
    service.ok(&["resize", "web", "--cpus", "2"]);
    let vm = service.json(&["inspect", "web", "--json"]);
    let running = serde_json::json!({ "cpus": 1, "memory": 192 << 20 });
    assert_eq!((&vm["cpus"], &vm["running"]), (&2.into(), &running));
    let told = service.ok(&["inspect", "web"]);
    assert!(told.contains("1 cpu, 192MiB memory (2 cpus, 192MiB memory from its next start)"), "{told}");
    assert!(service.ok(&["list"]).contains("1 (2)"));
    service.ok(&["restart", "web"]);
    assert_eq!(service.json(&["inspect", "web", "--json"])["running"]["cpus"], 2);
    service.ok(&["rename", "web", "shop"]);
    let vm = service.json(&["inspect", "shop", "--json"]);
    assert_eq!((vm["memory"].as_u64(), vm["state"].as_str()), (Some(192 << 20), Some("running")));
    let list = service.json(&["list", "--json"]);
    assert_eq!(list["vms"].as_array().unwrap().len(), 1);
    assert_eq!(service.ok(&["list", "--quiet"]), "shop\n");

    // Without a terminal nobody can be asked, and nothing is destroyed by mistake.
    for args in [&["destroy", "shop"][..], &["rm", "shop", "--json"]] {
        let output = service.run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--yes"), "{output:?}");
    }
    assert_eq!(service.json(&["inspect", "shop", "--json"])["goal"], "running");
    service.ok(&["destroy", "shop", "--yes"]);
    assert_eq!(service.json(&["list", "--json"])["vms"], Value::Array(Vec::new()));
    let tombstone = &service.json(&["list", "--deleted", "--json"])["vms"][0];
    assert_eq!((&tombstone["id"], &tombstone["state"]), (&vm["id"], &"destroyed".into()));
    let id = vm["id"].as_str().unwrap();
    assert_eq!(service.json(&["inspect", id, "--json"])["state"], "destroyed");
    assert!(service.ok(&["inspect", id]).contains("state      destroyed"));
    service.ok(&["create", "short-lived"]);
    assert_eq!(service.json(&["destroy", "short-lived", "--json", "--yes"])["vm"]["state"], "destroyed");
    let log = service.ok(&["events", "--json"]);
    let kinds: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kinds.first().unwrap()["kind"], "accepted");
    assert!(kinds.iter().any(|event| event["kind"] == "deleted"));
}

#[test]
fn create_tells_its_timings_and_what_to_type_next() {
    let service = Service::start();
    let output = service.run(&["create", "web", "--timings"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("guest_ready"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("minions exec web"), "{output:?}");
    let made = service.json(&["create", "api2", "--json"]);
    assert_eq!((&made["operation"]["state"], &made["vm"]["state"]), (&"succeeded".into(), &"running".into()));
    assert!(!made["operation"]["timings"].as_array().unwrap().is_empty());
    let id = service.ok(&["create", "later", "--no-wait"]);
    assert!(id.starts_with("op_"));
    service.ok(&["wait", "later"]);
    assert_eq!(service.json(&["inspect", "later", "--json"])["state"], "running");
    let done = service.json(&["wait", "--operation", id.trim(), "--json"]);
    assert_eq!((&done["operation"]["state"], &done["vm"]["name"]), (&"succeeded".into(), &"later".into()));
    let id = service.ok(&["stop", "later", "--no-wait"]);
    service.ok(&["wait", "--operation", id.trim()]);
    assert_eq!(service.json(&["inspect", "later", "--json"])["state"], "stopped");
    assert_eq!(service.code(&["wait", "--operation", "op_00000000000000000000000001"]), 4);
    // What was typed for a VM is led to where it belongs.
    let output = service.run(&["wait", id.trim()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("wait --operation op_"), "{output:?}");
}

#[test]
fn timings_show_phases_with_their_parts_below_them() {
    let service = Service::start();
    let shown = service.ok(&["create", "web", "--timings"]);
    let json = service.json(&["create", "api2", "--json"]);
    let marks = json["operation"]["timings"].as_array().unwrap();
    assert!(marks.iter().all(|mark| mark["name"].is_string() && mark["micros"].is_u64()), "{marks:?}");
    let lines: Vec<&str> = shown.lines().skip(1).collect();
    assert!(lines.iter().any(|line| line.starts_with("guest_ready ")), "{shown}");
    let parts: Vec<&&str> = lines.iter().filter(|line| line.starts_with("  ")).collect();
    assert!(!parts.is_empty() && !lines[0].starts_with(' '), "{shown}");
    for part in parts {
        let name = part.split_whitespace().next().unwrap();
        assert!(!minions_core::types::BootMark::PHASES.contains(&name), "{shown}");
    }
}

#[test]
fn an_image_is_named_as_it_is_listed() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    let vm = service.json(&["inspect", "web", "--json"]);
    let image = vm["image"].as_str().unwrap();
    let listed = service.ok(&["image", "list"]);
    let short = &image["img_".len()..][..12];
    assert!(listed.contains(short), "{listed}");
    for (name, typed) in [("by-short", short), ("by-eight", &short[..8]), ("by-id", image)] {
        service.ok(&["create", name, "--image", typed]);
        assert_eq!(service.json(&["inspect", name, "--json"])["image"], image, "{typed}");
    }
    assert_eq!(service.code(&["create", "too-short", "--image", &short[..7]]), 2);
    // It is found by that, and kept because it is needed.
    assert_eq!(service.code(&["image", "delete", &short[..8]]), 5);
}

#[test]
fn exec_passes_stdin_output_and_exit_codes_through() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    let output = service.with_stdin(&["exec", "web", "--", "wc", "-l"], b"a\nb\n".to_vec());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "2");
    for (line, code) in [("exit 0", 0), ("exit 3", 3), ("exit 255", 255)] {
        assert_eq!(service.code(&["exec", "web", "--", "sh", "-c", line]), code, "{line}");
    }
    assert_eq!(service.code(&["exec", "web", "--", "nonsense"]), 127);
    // Failures of exec itself.
    assert_eq!(service.code(&["exec", "nobody", "--", "true"]), 255);
    // What cannot be asked is bad usage, with or without a VM of that name.
    for args in [&["exec", "web"][..], &["exec", "nobody"], &["exec", "web", "--env", "A", "--", "true"]] {
        assert_eq!(service.code(args), 2, "{args:?}");
    }
    let output = service.run(&["exec", "--json", "nobody", "--", "true"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["error"]["kind"], &error["error"]["exit_code"]), (&"not_found".into(), &255.into()));
    service.ok(&["stop", "web"]);
    assert_eq!(service.code(&["exec", "web", "--", "true"]), 255);
}

#[test]
fn much_goes_through_exec_unchanged() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    let bytes: Vec<u8> = (0..8u32 << 20).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let output = service.with_stdin(&["exec", "web", "--", "cat"], bytes.clone());
    assert!(output.status.success() && output.stdout == bytes, "{} of {}", output.stdout.len(), bytes.len());
}

#[test]
fn a_signal_reaches_the_program_in_the_guest() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = service
            .command(&["exec", "web", "--", "sh", "-c", "echo up; sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        signal_to(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
    }
}

#[test]
fn files_and_folders_are_copied_both_ways() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    let from = PathBuf::from(service.path("site"));
    fs::create_dir_all(from.join("sub")).unwrap();
    for number in 0..200 {
        fs::write(from.join(format!("sub/{number}")), format!("file {number}")).unwrap();
    }
    fs::write(from.join("large"), vec![7; 3 << 20]).unwrap();
    let from = from.display().to_string();

    // What is told is what is in the files, whatever the way there makes of them.
    let bytes: usize = (0..200).map(|number| format!("file {number}").len()).sum::<usize>() + (3 << 20);
    let told = serde_json::json!({ "bytes": bytes, "files": 201 });
    assert_eq!(service.json(&["cp", &from, "web:/root/site", "--json"]), told);
    assert_eq!(service.ok(&["exec", "web", "--", "cat", "/root/site/sub/42"]), "file 42");
    // Into a folder that is there it goes under its own name.
    service.ok(&["cp", &from, "web:/root/site"]);
    assert_eq!(service.ok(&["exec", "web", "--", "cat", "/root/site/site/sub/7"]), "file 7");
    service.ok(&["cp", &format!("{from}/sub/1"), "web:/root/"]);
    assert_eq!(service.ok(&["exec", "web", "--", "cat", "/root/1"]), "file 1");

    let back = service.path("back");
    let output = service.run(&["cp", "web:/root/site", &back]);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("copied 402 files, 6MiB, in "), "{output:?}");
    assert_eq!(fs::read_to_string(format!("{back}/sub/199")).unwrap(), "file 199");
    assert_eq!(fs::read(format!("{back}/large")).unwrap(), vec![7; 3 << 20]);
    service.ok(&["cp", "web:/root/site/sub/3", &back]);
    assert_eq!(fs::read_to_string(format!("{back}/3")).unwrap(), "file 3");

    for (args, code) in [
        (["cp", "web:/nowhere", "."], 4),
        (["cp", "/nowhere/at/all", "web:/root/"], 4),
        (["cp", "a", "b"], 2),
        (["cp", "web:/a", "web:/b"], 2),
        (["cp", "web:notes", "."], 2),
        (["cp", "nobody:/etc/hostname", "."], 4),
    ] {
        assert_eq!(service.code(&args), code, "{args:?}");
    }
    let left: Vec<_> = fs::read_dir(service.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".minions-cp")), "{left:?}");
}

#[test]
fn a_file_is_copied_from_stdin_and_to_stdout() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    let bytes: Vec<u8> = (0..1u32 << 20).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let output = service.with_stdin(&["cp", "-", "web:/root/piped", "--json"], bytes.clone());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(told, serde_json::json!({ "bytes": 1 << 20, "files": 1 }));
    let output = service.run(&["cp", "web:/root/piped", "-"]);
    assert!(output.status.success() && output.stdout == bytes, "{} of {}", output.stdout.len(), bytes.len());
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("copied 1 file, 1MiB"), "{output:?}");
    for (args, code) in [
        (&["cp", "-", "web:/root"][..], 2),
        (&["cp", "-", "web:/root/"], 2),
        (&["cp", "web:/root", "-"], 2),
        (&["cp", "web:/root/piped", "-", "--json"], 2),
        (&["cp", "web:/nowhere", "-"], 4),
        (&["cp", "-", "-"], 2),
        (&["cp", "-", "here"], 2),
    ] {
        let output = service.run(args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{args:?}: {output:?}");
    }
    assert!(!PathBuf::from("-").exists());
}

#[test]
fn a_vm_that_will_not_run_has_no_port_to_forward() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    service.ok(&["stop", "web"]);
    let mut child = service.command(&["port-forward", "web", "0:80"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line.contains("leads to") {
        signal_to(&child, "INT");
    }
    assert_eq!((child.wait().unwrap().code(), line.contains("minions start web")), (Some(6), true), "{line}");
    // One on its way is waited for.
    service.ok(&["start", "web", "--no-wait"]);
    let mut child = service.command(&["port-forward", "web", "0:80", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let said: Value = serde_json::from_str(&ready(&mut child)).unwrap();
    assert!(said["local"].is_string());
    signal_to(&child, "INT");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_port_in_the_guest_is_reached_from_here() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    if on_qemu() {
        service.ok(&[
            "exec",
            "web",
            "--",
            "sh",
            "-c",
            "mkdir -p /srv && echo hello web > /srv/index.html && httpd -p 127.0.0.1:80 -h /srv",
        ]);
    }
    let mut child = service.command(&["port-forward", "web", "0:80", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let said: Value = serde_json::from_str(&ready(&mut child)).unwrap();
    for _ in 0..3 {
        let mut stream = std::net::TcpStream::connect(said["local"].as_str().unwrap()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.") && answer.contains("web"), "{answer}");
    }
    signal_to(&child, "INT");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_simulated_host_that_was_restarted_says_that_its_vms_are_lost() {
    if on_qemu() {
        return;
    }
    let mut service = Service::start();
    service.ok(&["create", "web"]);
    service.signal("TERM");
    service.child.wait().unwrap();
    service.child = serve(service.dir.path(), &[]);
    ready(&mut service.child);
    let vm = service.json(&["inspect", "web", "--json"]);
    assert_eq!((&vm["state"], &vm["reason"]["code"]), (&"failed".into(), &"host_lost".into()));
    assert!(service.log().contains("begins empty"));
    service.ok(&["destroy", "web", "--yes"]);
    service.ok(&["create", "web"]);
}

#[test]
fn a_token_lets_its_owner_in_over_tcp_and_shows_them_only_their_own() {
    let dir = folder();
    let (file, key) = (dir.path().join("tokens"), dir.path().join("key"));
    let made = Command::new(MINIONS).args(["token", "create", "ada", "--file"]).arg(&file).output().unwrap();
    assert!(made.status.success());
    fs::write(&key, &made.stdout).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = format!("[api]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n", file.display());
    fs::write(dir.path().join("minions.toml"), config).unwrap();
    let mut child = serve(dir.path(), &[]);
    let line = ready(&mut child);
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let service = Service { child, dir, told: String::new() };
    if on_qemu() {
        service.build_image();
    }
    service.ok(&["create", "operators", "--no-wait"]);
    let remote = |args: &[&str]| {
        let mut command = Command::new(MINIONS);
        command.args(["--server", &url, "--token-file"]).arg(&key).args(args);
        command.output().unwrap()
    };
    let list = remote(&["list", "--json"]);
    assert_eq!(String::from_utf8(list.stdout).unwrap(), "{\"vms\":[]}\n", "{:?}", String::from_utf8(list.stderr));
    assert_eq!(remote(&["inspect", "operators"]).status.code(), Some(4));
    assert_eq!(Command::new(MINIONS).args(["--server", &url, "list"]).output().unwrap().status.code(), Some(3));
    assert!(!service.log().contains(String::from_utf8(made.stdout).unwrap().trim()));
}
