//! The agent and the host's client against each other, in process, on real programs.
#![cfg(all(feature = "agent", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod agent_rig;

use std::time::Duration;

use agent_rig::{Noise, Outcome, agent, open, open_on, rest, run, secret, sh, soon, start};
use bytes::Bytes;
use minions_core::ErrorKind;
use minions_core::agent::{Agent, AgentOptions, Door, ReadyDoor, announce, listen};
use minions_core::api::guest::handshake::AgentIdentity;
use minions_core::api::guest::{ExecRequest, GuestCall, Nonce, PowerHow, Purpose, ReadyReport, Signal, Tty, TtySize};
use minions_core::guest::READY_PORT;
use minions_core::guest::client::{self, ExecEnd, ExecItem};
use minions_core::types::BootMark;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};

const _: () = assert!(READY_PORT == minions_core::agent::READY_PORT);

#[tokio::test]
async fn exit_codes_pass_through_and_streams_stay_apart() {
    for code in [0, 3, 127, 255] {
        let outcome = run(sh(&format!("echo out; echo err >&2; exit {code}"))).await;
        assert!(matches!(outcome.end, ExecEnd::Exited(is) if is == code), "{code}: {:?}", outcome.end);
        assert_eq!((outcome.out.as_slice(), outcome.err.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    }
}

#[tokio::test]
async fn a_death_by_signal_is_told_as_one() {
    let outcome = run(sh("kill -TERM $$")).await;
    assert!(matches!(outcome.end, ExecEnd::Signaled(Signal::TERM)), "{:?}", outcome.end);
    assert_eq!(outcome.end.exit_code(), 143);
}

#[tokio::test]
async fn a_signal_of_the_host_reaches_the_whole_group() {
    let (input, mut output) = start(sh("trap 'echo caught; exit 9' INT; echo ready; sleep 100 & wait")).await;
    loop {
        match output.next().await.unwrap().unwrap() {
            ExecItem::Stdout(bytes) if bytes == "ready\n" => break,
            ExecItem::Started { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    input.signal(Signal::INT).await.unwrap();
    let outcome = rest(&mut output).await;
    assert_eq!(outcome.out(), "caught\n");
    assert!(matches!(outcome.end, ExecEnd::Exited(9)));
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let code = |outcome: Outcome| outcome.end.exit_code();
    assert_eq!(code(run(ExecRequest::new(["no-such-program"])).await), 127);
    assert_eq!(code(run(ExecRequest::new(["/etc/passwd"])).await), 126);
    assert_eq!(code(run(ExecRequest { cwd: Some("/nowhere".to_owned()), ..sh("true") }).await), 255);
    assert_eq!(code(run(ExecRequest { user: Some("nobody-at-all".to_owned()), ..sh("true") }).await), 255);
    assert_eq!(code(run(ExecRequest::default()).await), 255);
}

#[tokio::test]
async fn environment_and_directory_are_as_asked_and_nothing_leaks_from_the_agent() {
    let mut request = sh("pwd; echo $GREETING; env | grep -c CARGO");
    request.cwd = Some("/usr".to_owned());
    request.env.insert("GREETING".to_owned(), "hello  world".to_owned());
    let outcome = run(request).await;
    assert_eq!(outcome.out(), "/usr\nhello world\n0\n");
}

#[tokio::test]
async fn a_program_runs_as_the_user_that_was_asked_for() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP: only root can become someone else");
        return;
    }
    let mut request = sh("id -u; id -g; id -G");
    request.user = Some("12345:54321".to_owned());
    assert_eq!(run(request).await.out(), "12345\n54321\n54321\n");
}

#[tokio::test]
async fn stdin_ends_when_the_host_says_so_and_is_empty_where_none_was_asked_for() {
    let (input, mut output) = start(ExecRequest { stdin: true, ..ExecRequest::new(["wc", "-l"]) }).await;
    input.write(Bytes::from_static(b"a\nb\n")).await.unwrap();
    input.close().await.unwrap();
    assert_eq!(rest(&mut output).await.out().trim(), "2");
    assert_eq!(run(ExecRequest::new(["wc", "-c"])).await.out().trim(), "0");
}

#[tokio::test]
async fn everything_a_program_wrote_arrives_and_one_it_left_behind_does_not_hold_it_up() {
    let outcome = run(sh("sleep 1000 & head -c 200000 /dev/zero; echo $! >&2")).await;
    assert_eq!(outcome.out.len(), 200_000);
    let pid: i32 = std::str::from_utf8(&outcome.err).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it was left alone, as a shell would");
}

#[tokio::test]
async fn a_host_that_hangs_up_ends_the_program_and_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("alive");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    // Both hold the pipe open; the read below ends only when the last of them is gone.
    let script = format!("exec 9> {}; sleep 1000 & trap '' HUP; echo ready; sleep 1000; sleep 1000", pipe.display());
    let (input, mut output) = start(sh(&script)).await;
    let mut alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe).unwrap();
    while !matches!(output.next().await.unwrap().unwrap(), ExecItem::Stdout(_)) {}
    drop((input, output));
    let mut nothing = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), alive.read_to_end(&mut nothing)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_terminal_is_one_and_follows_its_size() {
    let mut request = sh("tty; stty size; trap 'stty size; exit 4' WINCH; echo $TERM; while :; do sleep 0.05; done");
    request.tty = Some(Tty { size: TtySize { rows: 30, cols: 100 }, term: Some("vt100".to_owned()) });
    let (input, mut output) = start(request).await;
    let mut seen = String::new();
    while !seen.contains("vt100\r\n") {
        if let ExecItem::Stdout(bytes) = output.next().await.unwrap().unwrap() {
            seen.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
    assert!(seen.starts_with("/dev/pts/"), "{seen}");
    assert!(seen.contains("30 100\r\n"), "{seen}");
    input.resize(TtySize { rows: 50, cols: 132 }).await.unwrap();
    let outcome = rest(&mut output).await;
    assert!(outcome.out().contains("50 132"), "{}", outcome.out());
    assert!(matches!(outcome.end, ExecEnd::Exited(4)));
}

#[tokio::test]
async fn on_a_terminal_ctrl_c_and_the_end_of_stdin_mean_what_they_do_everywhere() {
    let tty = Some(Tty { size: TtySize { rows: 24, cols: 80 }, term: None });
    let (input, mut output) = start(ExecRequest { tty: tty.clone(), stdin: true, ..ExecRequest::new(["cat"]) }).await;
    input.write(Bytes::from_static(b"line\n")).await.unwrap();
    input.close().await.unwrap();
    let outcome = rest(&mut output).await;
    assert!(matches!(outcome.end, ExecEnd::Exited(0)));
    assert_eq!(outcome.out(), "line\r\nline\r\n");
    let (input, mut output) = start(ExecRequest { tty, stdin: true, ..sh("echo ready; exec sleep 1000") }).await;
    while !matches!(output.next().await.unwrap().unwrap(), ExecItem::Stdout(_)) {}
    input.write(Bytes::from_static(b"\x03")).await.unwrap();
    assert!(matches!(rest(&mut output).await.end, ExecEnd::Signaled(Signal::INT)));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn sixty_four_mib_go_in_and_come_out_the_same_and_stay_out_of_memory() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 1024;
    let (input, mut output) = start(ExecRequest { stdin: true, ..ExecRequest::new(["cat"]) }).await;
    let before = resident_kib();
    let feeding = tokio::spawn(async move {
        let mut noise = Noise(7);
        for _ in 0..PIECES {
            input.write(noise.piece(PIECE)).await?;
        }
        input.close().await
    });
    let (mut sum_in, mut sum_out) = (hmac_sha256::Hash::new(), hmac_sha256::Hash::new());
    let mut noise = Noise(7);
    (0..PIECES).for_each(|_| sum_in.update(noise.piece(PIECE)));
    let mut received = 0;
    let mut most = 0;
    loop {
        match output.next().await.unwrap().unwrap() {
            ExecItem::Started { .. } => {}
            ExecItem::Stdout(bytes) => {
                received += bytes.len();
                sum_out.update(&bytes);
                if received % (1 << 20) < bytes.len() {
                    most = most.max(resident_kib());
                }
            }
            ExecItem::End(ExecEnd::Exited(0)) => break,
            other => panic!("{other:?}"),
        }
    }
    feeding.await.unwrap().unwrap();
    assert_eq!(received, PIECE * PIECES);
    assert_eq!(sum_out.finalize(), sum_in.finalize());
    assert!(most < before + 32 * 1024, "{before} KiB became {most} KiB");
}

#[tokio::test]
async fn a_forward_carries_both_directions_and_each_ends_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = Vec::new();
        // Only the end of the question lets the answer begin: an end must travel without ending the other direction.
        stream.read_to_end(&mut question).await.unwrap();
        stream.write_all(&question).await.unwrap();
        stream.write_all(b" answered").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let (mut local, far) = tokio::io::duplex(4096);
    let io = open(GuestCall::Forward { port }).await;
    let forwarding = tokio::spawn(async move {
        let (read, write) = tokio::io::split(far);
        client::forward(io, read, write, soon()).await
    });
    let question = Noise(3).piece(1 << 20);
    let (mut read, mut write) = tokio::io::split(&mut local);
    let ask = async {
        write.write_all(&question).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    tokio::join!(ask, async { read.read_to_end(&mut answer).await.unwrap() });
    assert_eq!(answer.len(), question.len() + 9);
    assert_eq!((&answer[..question.len()], &answer[question.len()..]), (&question[..], &b" answered"[..]));
    assert_eq!(forwarding.await.unwrap().unwrap(), (question.len() as u64, answer.len() as u64));
    server.await.unwrap();
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let io = open(GuestCall::Forward { port }).await;
    let error = client::forward(io, tokio::io::empty(), tokio::io::sink(), soon()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn status_and_network_tell_of_this_machine() {
    let status = client::status(open(GuestCall::Status).await, soon()).await.unwrap().clamp();
    assert!(status.cpu.count > 0 && status.memory.total > status.memory.available && status.uptime_ms > 0);
    assert!(status.processes > 0 && !status.kernel.is_empty() && !status.hostname.is_empty());
    let network = client::network(open(GuestCall::Network).await, soon()).await.unwrap().clamp();
    assert!(network.interfaces.iter().any(|interface| interface.name == "lo"));
    let health = client::health(open(GuestCall::Health).await, soon()).await.unwrap().clamp();
    assert_eq!(health.connections, 1);
}

#[tokio::test]
async fn on_a_machine_that_is_not_its_own_a_shutdown_ends_the_agent_alone_and_disks_are_left_alone() {
    let agent = agent();
    let grow = GuestCall::GrowFilesystem { target: minions_core::api::guest::FsTarget::Root };
    let error = client::grow(open_on(&agent, grow).await, soon()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    client::shutdown(open_on(&agent, GuestCall::Shutdown { how: PowerHow::Orderly }).await, soon()).await.unwrap();
    assert_eq!(agent.ended().await, PowerHow::Orderly);
}

#[tokio::test]
async fn the_agent_dials_until_its_report_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ready");
    let agent = agent();
    let report = ReadyReport {
        marks: vec![BootMark { name: "guest-kernel".into(), micros: 7 }],
        kernel: "6.1".to_owned(),
        root: "/dev/vda".to_owned(),
    };
    let (door, sent) = (ReadyDoor::Unix(path.clone()), report.clone());
    let announcing = tokio::spawn(async move { announce(&agent, &door, &sent).await });
    tokio::task::yield_now().await;
    // The host comes late, hangs up on the first try, and only then listens.
    let listener = UnixListener::bind(&path).unwrap();
    drop(listener.accept().await.unwrap());
    let (stream, _) = listener.accept().await.unwrap();
    let (io, _) = client::prove(Box::new(stream), &secret(), Purpose::Ready, soon()).await.unwrap();
    let (read, write) = tokio::io::split(io);
    let heard: ReadyReport = minions_core::api::guest::FrameReader::new(read).message().await.unwrap();
    assert_eq!(heard, report);
    let ack = minions_core::api::guest::ReadyAck::default();
    minions_core::api::guest::FrameWriter::new(write).message(&ack).await.unwrap();
    assert_eq!(announcing.await.unwrap(), ack);
}

#[tokio::test]
async fn connections_above_the_cap_are_closed_and_the_others_served() {
    let identity =
        AgentIdentity { secret: secret(), boot_nonce: Nonce::from_bytes([1; 32]), agent_version: "test".to_owned() };
    let agent = Agent::new(identity, AgentOptions { max_connections: 2, ..AgentOptions::default() });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent");
    let serving = tokio::spawn(listen(agent, Door::Unix(path.clone())).await.unwrap());
    let hold = ExecRequest { stdin: true, ..ExecRequest::new(["cat"]) };
    let connect = async |call: GuestCall| {
        let stream = UnixStream::connect(&path).await.unwrap();
        let (mut io, _) = client::prove(Box::new(stream), &secret(), Purpose::Call, soon()).await?;
        client::begin(&mut io, &call, soon()).await.map(|()| io)
    };
    let (_one, mut output) = client::exec(connect(GuestCall::Exec(hold.clone())).await.unwrap());
    assert!(matches!(output.next().await.unwrap(), Some(ExecItem::Started { .. })));
    let (_two, mut other) = client::exec(connect(GuestCall::Exec(hold)).await.unwrap());
    assert!(matches!(other.next().await.unwrap(), Some(ExecItem::Started { .. })));
    assert!(connect(GuestCall::Health).await.is_err());
    serving.abort();
}
