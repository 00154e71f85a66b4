//! A host made ready, as far as that can be tried without changing this machine: everything in one folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::MINIONS;

/// What asks nothing of the machine but a folder and a configuration.
const MODEST: [&str; 6] = ["--storage", "file", "--network", "user", "--backend", "qemu"];

fn init(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(MINIONS);
    command.args(["init", "--dir"]).arg(dir).args(words).env_remove("MINIONS_DIR").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// With stand-ins for the programs that run VMs, which nobody starts here.
fn place() -> tempfile::TempDir {
    // Not the folder of a service, whose programs may be those of every test.
    let dir = tempfile::Builder::new().prefix("mn").tempdir_in("/tmp").unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["qemu-system-x86_64", "vhost-device-vsock"] {
        let program = bin.join(name);
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_plan_is_shown_done_once_and_then_nothing_is_to_do() {
    if !is_root() {
        println!("SKIP init: a host is set up by root");
        return;
    }
    let place = place();
    let dir = place.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    let file = dir.join("minions.toml");

    let shown = init(dir, &[&MODEST[..], &["--dry-run"]].concat());
    assert!(shown.status.success() && !file.exists(), "{}", said(&shown));
    for word in ["why:", "how:  chmod 0755", "undo: chmod 0777", "write", "nothing was changed"] {
        assert!(said(&shown).contains(word), "{word}: {}", said(&shown));
    }
    let asked = init(dir, &MODEST);
    assert_eq!(asked.status.code(), Some(2), "{}", said(&asked));
    assert!(said(&asked).contains("--yes") && !file.exists());

    let json = init(dir, &[&MODEST[..], &["--json", "--dry-run"]].concat());
    let plan: Value = serde_json::from_slice(&json.stdout).unwrap();
    let ids: Vec<&str> = plan["steps"].as_array().unwrap().iter().filter_map(|step| step["id"].as_str()).collect();
    assert_eq!((ids, &plan["refused"]), (vec!["mode", "file"], &Value::Array(Vec::new())));

    let done = init(dir, &[&MODEST[..], &["--yes"]].concat());
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o7777, 0o755);
    let config = Command::new(MINIONS).args(["config", "check"]).arg(&file).output().unwrap();
    assert!(config.status.success(), "{}", said(&config));
    for words in [&["--yes"][..], &MODEST] {
        let again = init(dir, words);
        assert!(again.status.success() && said(&again).contains("nothing is to do"), "{}", said(&again));
    }
    let other = init(dir, &["--storage", "lvm", "--yes"]);
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(said(&other).contains("storage.kind"), "{}", said(&other));
}

#[test]
fn a_disk_that_is_none_is_refused_and_nothing_is_changed() {
    let place = place();
    let file = place.path().join("disk");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    let output = init(place.path(), &["--yes", "--backend", "qemu", "--device", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    assert!(said(&output).contains("nothing was changed") && said(&output).contains("fix: "), "{}", said(&output));
    assert!(!place.path().join("minions.toml").exists());
    assert_eq!(fs::read(&file).unwrap(), vec![0; 1 << 20]);
}

#[test]
fn what_only_init_may_do_doctor_leaves_alone() {
    if !is_root() {
        println!("SKIP doctor --fix: a host is mended by root");
        return;
    }
    let place = place();
    let dir = place.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    let output = Command::new(MINIONS).args(["doctor", "--fix", "--dir"]).arg(dir).output().unwrap();
    assert!(said(&output).contains("will keep others from writing to"), "{}", said(&output));
    assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(!dir.join("minions.toml").exists(), "a configuration is no repair");
    let output = Command::new(MINIONS).args(["doctor", "--fix", "--dir"]).arg(dir).output().unwrap();
    assert!(said(&output).contains("nothing that --fix mends"), "{}", said(&output));
}
