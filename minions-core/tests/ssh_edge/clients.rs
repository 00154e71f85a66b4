//! Clients of others: what they say of the gateway, and what they do with it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use minions_core::ssh::Settings;
use tokio::process::Command;

use super::{Gate, have, owner, text};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ssh_edge/clients.py");

/// The versions that are known to work, so that a new one breaks nothing unasked.
const PACKAGES: &[&str] = &["ssh-audit==3.9.0", "paramiko==5.1.0", "asyncssh==2.24.1"];

/// How long getting them may take.
const FETCH: Duration = Duration::from_secs(40);

async fn run(command: &mut Command) -> Option<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    tokio::time::timeout(FETCH, command.output()).await.ok()?.ok()
}

/// A folder with the programs of these packages, below the one that everything is built in; `None` where they cannot be had.
async fn packages() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ssh-clients-1");
    let (programs, whole) = (place.join("bin"), place.join("whole"));
    if whole.exists() {
        return Some(programs);
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&place)).await;
    let mut fetch = Command::new(programs.join("pip"));
    fetch.args(["install", "-q", "--disable-pip-version-check", "--timeout", "10", "--retries", "1"]).args(PACKAGES);
    let fetched = match made {
        Some(made) if made.status.success() => run(&mut fetch).await,
        made => made,
    };
    if fetched.as_ref().is_some_and(|fetched| fetched.status.success()) {
        std::fs::write(whole, "").unwrap();
        return Some(programs);
    }
    eprintln!("SKIP the packages {PACKAGES:?} cannot be had here: {fetched:?}");
    None
}

async fn check(gate: &Gate, key: &Path, python: &Path, check: &str) {
    let mut command = Command::new(python);
    command
        .arg(SCRIPT)
        .arg(check)
        .arg(gate.address.port().to_string())
        .arg(key)
        .arg(gate.dir.path().join("known_hosts"));
    let output = run(&mut command).await.expect("it ends");
    assert!(output.status.success(), "{check}: {}", String::from_utf8_lossy(&output.stderr));
    eprint!("{}", text(&output.stdout));
}

async fn audit(gate: &Gate, programs: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(programs.join("ssh-audit"));
    command.args(["-b", "--skip-rate-test", "-p", &gate.address.port().to_string(), "127.0.0.1"]);
    let output = run(&mut command).await.expect("it ends");
    (output.status.code(), text(&output.stdout))
}

#[tokio::test]
async fn paramiko_and_asyncssh_work_and_ssh_audit_has_nothing_to_say() {
    if !have("ssh-keygen") || !have("python3") {
        return;
    }
    let Some(programs) = packages().await else { return };
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    for client in ["paramiko", "asyncssh"] {
        check(&gate, &me, &programs.join("python"), client).await;
    }
    // It warns of every key exchange that a later quantum computer breaks; older clients know no other.
    let (_, told) = audit(&gate, &programs).await;
    let amiss = |line: &&str| line.contains("[fail]") || line.contains("[warn]") && !line.contains("post-quantum");
    assert!(told.contains("mlkem768x25519-sha256") && !told.lines().any(|line| amiss(&line)), "{told}");
    let strict = Gate::start_with(Settings { post_quantum_only: true, ..Settings::default() }).await;
    let (code, told) = audit(&strict, &programs).await;
    assert!(code == Some(0) && !told.contains("[fail]") && !told.contains("[warn]"), "{code:?} {told}");
}

#[tokio::test]
async fn a_terminal_changes_its_size_and_an_editor_finds_its_server() {
    if !have("ssh") || !have("python3") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    for what in ["resize", "vscode"] {
        check(&gate, &me, Path::new("python3"), what).await;
    }
}
