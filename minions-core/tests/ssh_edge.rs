//! The SSH gateway in front of the in-memory host, through the OpenSSH client.
#![cfg(all(feature = "ssh", feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "it runs the OpenSSH client")]

#[path = "ssh_edge/clients.rs"]
mod clients;
#[path = "ssh_edge/desk.rs"]
mod desk;
mod edge;
#[path = "ssh_edge/jump.rs"]
mod jump;
mod ssh_files;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use desk::Toy;
use edge::{Edge, owner};
use minions_core::api::v1;
use minions_core::env::Env;
use minions_core::service::{Caller, ControlPlane, Directory, VmAction, VmRef};
use minions_core::ssh::{HostKey, Settings, SshGateway};
use minions_core::types::UserName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Bytes.
const LARGE: usize = 16 << 20;

const LIMIT: Duration = Duration::from_secs(20);

/// Loud, and no failure: what a machine lacks it cannot show.
fn have(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(program).exists());
    if !found {
        eprintln!("SKIP there is no {program} here");
    }
    found
}

struct Gate {
    edge: Edge,
    address: SocketAddr,
    dir: tempfile::TempDir,
    toy: Toy,
    served: tokio::task::JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Gate {
    async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    async fn start_with(settings: Settings) -> Self {
        let edge = Edge::start().await;
        let dir = tempfile::tempdir().unwrap();
        let key = HostKey::generate(Env::system().ids.as_ref());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = format!("[127.0.0.1]:{} {}\n", address.port(), key.public_line().unwrap());
        std::fs::write(dir.path().join("known_hosts"), known).unwrap();
        let (accounts, toy) = (edge.accounts.clone(), Toy::default());
        let commands = Arc::new(toy.clone());
        let gateway = SshGateway::with_commands(edge.plane.clone(), accounts, commands, &key, settings);
        let served = tokio::spawn(async move { gateway.serve(vec![listener], std::future::pending()).await });
        Self { edge, address, dir, toy, served }
    }

    /// Somebody with an account and a key. Returns the private key's file.
    async fn user(&self, name: &str) -> PathBuf {
        let file = self.key(name).await;
        let user: UserName = name.parse().unwrap();
        let ops = Caller::admin("ops");
        self.edge.accounts.add_user(&ops, &v1::AddUser { name: user.clone(), admin: false }).await.unwrap();
        let key = std::fs::read_to_string(file.with_extension("pub")).unwrap();
        self.edge.accounts.add_key(&ops, &user, &v1::AddKey { key, label: None }).await.unwrap();
        file
    }

    async fn key(&self, name: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
        assert!(made.await.unwrap().success());
        file
    }

    fn ssh(&self, key: &Path, user: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.dir.path().join("known_hosts").display()));
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentityAgent=none", "-i"]).arg(key);
        command.arg("-p").arg(self.address.port().to_string()).args(["-l", user]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, key: &Path, user: &str, words: &[&str]) -> Output {
        let mut command = self.ssh(key, user);
        let output = command.arg("127.0.0.1").args(words).output();
        tokio::time::timeout(LIMIT, output).await.expect("it ends").unwrap()
    }

    async fn act(&self, vm: &str, action: VmAction) {
        let vm: VmRef = vm.parse().unwrap();
        let operation = self.edge.plane.act(&owner(), &vm, &action, None).await.unwrap();
        let ended = self.edge.plane.operation(&owner(), operation.id, LIMIT).await.unwrap();
        assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}

async fn ends(child: &mut Child) -> std::process::ExitStatus {
    tokio::time::timeout(LIMIT, child.wait()).await.expect("it ends").unwrap()
}

#[tokio::test]
async fn a_command_runs_in_the_vm_of_its_name_with_its_streams_and_its_status() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    let output = gate.run(&me, "web", &["echo", "hello"]).await;
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("hello\n", Some(0)), "{output:?}");
    assert_eq!(gate.run(&me, "web", &["exit", "3"]).await.status.code(), Some(3));
    let mut child = gate.ssh(&me, "web").arg("127.0.0.1").arg("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = vec![b'x'; 3 << 20];
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        stdin.write_all(&copy).await.unwrap();
    });
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    writing.await.unwrap();
    assert!(output.status.success() && output.stdout == sent, "{} bytes came back", output.stdout.len());
}

#[tokio::test]
async fn ctl_5_3_whoever_may_not_enter_learns_nothing_of_why() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    let other = gate.user("stranger").await;
    let unknown = gate.key("unknown").await;
    gate.edge.vm("web").await;
    let share = v1::ShareVm { add: vec!["stranger".to_owned()], ..v1::ShareVm::default() };
    let mut told = Vec::new();
    for (key, user) in [(&unknown, "web"), (&other, "web"), (&me, "nothing"), (&me, "WEB"), (&me, "..")] {
        let output = gate.run(key, user, &["true"]).await;
        told.push((output.status.code(), text(&output.stderr).replace(user, "NAME"), output.stdout));
    }
    gate.act("web", VmAction::Share(share)).await;
    let output = gate.run(&other, "web", &["true"]).await;
    told.push((output.status.code(), text(&output.stderr).replace("web", "NAME"), output.stdout));
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    assert_eq!(told[0].0, Some(255));
    assert!(told[0].1.contains("Permission denied (publickey)"), "{told:?}");
}

#[tokio::test]
async fn many_channels_share_one_connection_and_one_that_stalls_holds_up_no_other() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    let socket = gate.dir.path().join("mux");
    let control = format!("ControlPath={}", socket.display());
    let mut master = gate.ssh(&me, "web").args(["-M", "-N", "-o", &control, "127.0.0.1"]).spawn().unwrap();
    while !socket.exists() {
        assert!(master.try_wait().unwrap().is_none(), "the master ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // More than all windows and buffers between take, and nobody reads it.
    let mut upload = gate.ssh(&me, "web");
    let mut upload = upload.args(["-o", &control, "127.0.0.1", "cat > /large"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = upload.stdin.take().unwrap();
    tokio::time::timeout(LIMIT, stdin.write_all(&vec![b'x'; LARGE])).await.unwrap().unwrap();
    drop(stdin);
    assert!(ends(&mut upload).await.success());
    let mut stalled = gate.ssh(&me, "web").args(["-o", &control, "127.0.0.1", "cat /large"]).spawn().unwrap();
    let mut rest = stalled.stdout.take().unwrap();
    let mut first = [0; 1];
    tokio::time::timeout(LIMIT, rest.read_exact(&mut first)).await.unwrap().unwrap();
    let runs = (0..10).map(|number| {
        let mut command = gate.ssh(&me, "web");
        command.args(["-o", &control, "127.0.0.1", "echo"]).arg(number.to_string());
        async move { tokio::time::timeout(LIMIT, command.output()).await.expect("it is not held up").unwrap() }
    });
    let runs: Vec<_> = runs.map(tokio::spawn).collect();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(text(&run.await.unwrap().stdout), format!("{number}\n"));
    }
    let mut all = vec![first[0]];
    tokio::time::timeout(LIMIT, rest.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(all.len() == LARGE && all.iter().all(|byte| *byte == b'x'), "{} bytes came in the end", all.len());
    assert!(ends(&mut stalled).await.success());
    master.kill().await.unwrap();
}

#[tokio::test]
async fn ctl_5_6_only_ports_of_the_vm_itself_are_dialled() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    let vm = gate.edge.vm("web").await;
    for target in ["127.0.0.1:80", "localhost:80", "web:80"] {
        let mut child = gate.ssh(&me, "web").args(["-W", target, "127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        child.stdin.as_mut().unwrap().write_all(request).await.unwrap();
        let mut answer = String::new();
        let mut stdout = child.stdout.take().unwrap();
        tokio::time::timeout(LIMIT, stdout.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&vm.id.to_string()), "{target}: {answer}");
        ends(&mut child).await;
    }
    // What listens on the host is not reached by its address either.
    let host = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let open = host.local_addr().unwrap().port();
    for target in [format!("127.0.0.1:{open}"), "192.0.2.1:80".to_owned(), "example.org:80".to_owned()] {
        let output = gate.ssh(&me, "web").args(["-W", &target, "127.0.0.1"]).output();
        let output = tokio::time::timeout(LIMIT, output).await.unwrap().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{target}: {output:?}");
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), host.accept()).await;
    assert!(accepted.is_err(), "nothing came to the host's own port");
    let mut command = gate.ssh(&me, "web");
    command.args(["-o", "ExitOnForwardFailure=yes", "-R", "0:localhost:1", "127.0.0.1", "true"]);
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test]
async fn ctl_5_7_a_session_ends_when_its_vm_is_not_what_it_was_any_more() {
    if !have("ssh") {
        return;
    }
    for how in ["stop", "restart", "destroy", "key"] {
        let gate = Gate::start().await;
        let me = gate.user(&owner().owner.0).await;
        gate.edge.vm("web").await;
        // A connection without any session: nothing in the guest ends it.
        let socket = gate.dir.path().join("mux");
        let control = format!("ControlPath={}", socket.display());
        let mut idle = gate.ssh(&me, "web").args(["-M", "-N", "-o", &control, "127.0.0.1"]).spawn().unwrap();
        while !socket.exists() {
            assert!(idle.try_wait().unwrap().is_none(), "{how}: it ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match how {
            "stop" => gate.act("web", VmAction::Stop(v1::StopVm::default())).await,
            "restart" => gate.act("web", VmAction::Restart(v1::RestartVm {})).await,
            "destroy" => gate.act("web", VmAction::Destroy(v1::DestroyVm::default())).await,
            _ => {
                let user: UserName = owner().owner.0.parse().unwrap();
                let off = v1::UpdateUser { disabled: Some(true), ..v1::UpdateUser::default() };
                gate.edge.accounts.update_user(&Caller::admin("ops"), &user, &off).await.unwrap();
            }
        }
        let ended = tokio::time::timeout(Duration::from_secs(2), idle.wait()).await;
        assert!(ended.is_ok(), "{how}: the session goes on");
    }
}

#[tokio::test]
async fn a_share_does_not_end_a_session() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    let mut child = gate.ssh(&me, "web").args(["127.0.0.1", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut line = [0; 2];
    for turn in [b"a\n", b"b\n"] {
        stdin.write_all(turn).await.unwrap();
        tokio::time::timeout(LIMIT, stdout.read_exact(&mut line)).await.unwrap().unwrap();
        assert_eq!(&line, turn);
        let share = v1::ShareVm { public: Some(true), ..v1::ShareVm::default() };
        gate.act("web", VmAction::Share(share)).await;
        gate.act("web", VmAction::Rename(v1::RenameVm { name: "web2".parse().unwrap() })).await;
        gate.act("web2", VmAction::Rename(v1::RenameVm { name: "web".parse().unwrap() })).await;
    }
    drop(stdin);
    assert!(ends(&mut child).await.success());
}

#[tokio::test]
async fn a_stopped_vm_says_so_to_its_owner() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    gate.act("web", VmAction::Stop(v1::StopVm::default())).await;
    let output = gate.run(&me, "web", &["true"]).await;
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("not running; start it first"), "{output:?}");
}

#[tokio::test]
async fn ctl_5_2_who_does_not_log_in_in_time_is_cut_off() {
    let settings = Settings { login_grace: Duration::from_millis(300), ..Settings::default() };
    let gate = Gate::start_with(settings).await;
    for greeting in [&b""[..], b"SSH-2.0-x\r\n", b"SSH-"] {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut all)).await;
        assert!(read.is_ok(), "{greeting:?}: it is held for ever");
    }
}

#[tokio::test]
async fn ctl_5_2_one_source_cannot_hold_all_places() {
    let settings = Settings { max_startups_per_source: 3, ..Settings::default() };
    let gate = Gate::start_with(settings).await;
    let mut held = Vec::new();
    let mut greeted = 0;
    for _ in 0..6 {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        let mut first = [0; 8];
        let read = tokio::time::timeout(LIMIT, stream.read_exact(&mut first)).await.unwrap();
        greeted += usize::from(read.is_ok() && &first == b"SSH-2.0-");
        held.push(stream);
    }
    assert_eq!(greeted, 3);
}

#[tokio::test]
async fn ctl_5_2_a_source_that_fails_again_and_again_is_turned_away_for_a_while() {
    if !have("ssh") {
        return;
    }
    let settings = Settings { free_failures: 2, max_penalty: Duration::from_secs(1), ..Settings::default() };
    let gate = Gate::start_with(settings).await;
    let me = gate.user(&owner().owner.0).await;
    let unknown = gate.key("unknown").await;
    gate.edge.vm("web").await;
    let denied = |output: &Output| text(&output.stderr).contains("Permission denied");
    for _ in 0..2 {
        for _ in 0..2 {
            assert!(denied(&gate.run(&unknown, "web", &["true"]).await));
        }
        // Who logs in rightly in between has lost nothing.
        assert!(gate.run(&me, "web", &["true"]).await.status.success());
    }
    for _ in 0..3 {
        assert!(denied(&gate.run(&unknown, "web", &["true"]).await));
    }
    let away = gate.run(&me, "web", &["true"]).await;
    assert!(away.status.code() == Some(255) && !denied(&away), "{away:?}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(gate.run(&me, "web", &["true"]).await.status.success(), "it does not last");
}
