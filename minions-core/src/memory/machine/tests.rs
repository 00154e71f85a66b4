//! Simulated guests, met through the ports as anyone meets them.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{ReadHalf, WriteHalf};

use crate::api::guest::{handshake, *};
use crate::env::CallCx;
use crate::error::{ErrorKind, Result};
use crate::guest::{AGENT_PORT, GuestChannel, GuestIoBox};
use crate::hypervisor::{Hypervisor, VmmConfig};
use crate::memory::{InMemoryHost, KERNEL_RELEASE};
use crate::storage::{Storage, StorageExt, VolumeConfig, VolumeSource};
use crate::types::{AgentSecret, ByteSize, Cid, DiskAttachment, DiskRole, StopHow, Vcpus, VmId, VolumeId};

const VM: VmId = VmId::from_bits(7);

fn cx() -> CallCx {
    CallCx::new("test", Duration::from_secs(60))
}

fn secret() -> AgentSecret {
    AgentSecret::from_bytes([5; 32])
}

struct Client {
    reader: FrameReader<ReadHalf<GuestIoBox>>,
    writer: FrameWriter<WriteHalf<GuestIoBox>>,
}

async fn volume(host: &InMemoryHost, role: DiskRole, size: ByteSize, source: VolumeSource) -> DiskAttachment {
    let id = VolumeId { vm: VM, role, turn: 0 };
    host.storage().ensure_volume(&cx(), &VolumeConfig { id, size, source }).await.unwrap();
    DiskAttachment { role, path: host.storage().volume(&cx(), id).await.unwrap().unwrap().path }
}

async fn start(host: &InMemoryHost, epoch: u64) {
    let image = host.storage().images(&cx()).await.unwrap().remove(0);
    let disks = vec![
        volume(host, DiskRole::Root, ByteSize::mib(64), VolumeSource::Image(image.id)).await,
        volume(host, DiskRole::Data, ByteSize::gib(4), VolumeSource::Empty).await,
    ];
    let config = VmmConfig {
        id: VM,
        epoch,
        vcpus: Vcpus(2),
        memory: ByteSize::mib(256),
        boot: image.boot,
        cmdline: String::new(),
        hostname: "web".to_owned(),
        disks,
        nic: None,
        cid: Cid::FIRST,
        secret: secret(),
        uid: 1,
        restore: None,
    };
    host.guest().ensure_open(&cx(), VM, Cid::FIRST).await.unwrap();
    host.hypervisor().ensure_running(&cx(), &config).await.unwrap();
}

async fn ready(host: &InMemoryHost) -> Result<ReadyReport> {
    let stream = host.guest().accept(&cx(), VM).await?;
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    handshake::host(&mut reader, &mut writer, &secret(), Purpose::Ready).await?;
    writer.flush().await?;
    let report = reader.message().await?;
    writer.message(&ReadyAck::default()).await?;
    Ok(report)
}

async fn running() -> InMemoryHost {
    let host = InMemoryHost::new();
    start(&host, 1).await;
    ready(&host).await.unwrap();
    host
}

async fn call(host: &InMemoryHost, call: &GuestCall) -> Client {
    let stream = host.guest().connect(&cx(), VM, AGENT_PORT).await.unwrap();
    let (read, write) = tokio::io::split(stream);
    let mut client = Client { reader: FrameReader::new(read), writer: FrameWriter::new(write) };
    handshake::host(&mut client.reader, &mut client.writer, &secret(), Purpose::Call).await.unwrap();
    client.writer.message(call).await.unwrap();
    client
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    out: String,
    err: String,
    end: Option<ExecEvent>,
}

/// Everything a program writes, and its end.
async fn finish(client: &mut Client) -> Ran {
    let mut ran = Ran::default();
    loop {
        match client.reader.next().await.unwrap().expect("an end was due") {
            Frame::Data { channel, bytes } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if channel == CHANNEL_MAIN { &mut ran.out } else { &mut ran.err }.push_str(&text);
            }
            Frame::End { .. } => {}
            frame => match frame.message::<ExecEvent>().unwrap() {
                ExecEvent::Started { .. } | ExecEvent::StdinTaken { .. } => {}
                end => {
                    ran.end = Some(end);
                    return ran;
                }
            },
        }
    }
}

async fn sh(host: &InMemoryHost, script: &str) -> Ran {
    finish(&mut call(host, &GuestCall::Exec(ExecRequest::new(["sh", "-c", script]))).await).await
}

async fn data(client: &mut Client) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match client.reader.next().await.unwrap() {
            Some(Frame::Data { bytes, .. }) => all.extend_from_slice(&bytes),
            Some(Frame::End { .. }) => return all,
            other => panic!("{other:?}"),
        }
    }
}

async fn send(client: &mut Client, bytes: &[u8]) {
    for chunk in bytes.chunks(1000) {
        let frame = Frame::Data { channel: 0, bytes: Bytes::copy_from_slice(chunk) };
        client.writer.send(&frame).await.unwrap();
    }
    client.writer.send(&Frame::End { channel: 0 }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guest_says_that_it_is_ready_after_its_boot_time_and_until_it_is_heard() {
    let host = InMemoryHost::new();
    host.set_boot_time(Duration::from_secs(3));
    let begun = tokio::time::Instant::now();
    start(&host, 1).await;
    // Someone takes the connection and dies: the guest dials again.
    drop(host.guest().accept(&cx(), VM).await.unwrap());
    let report = ready(&host).await.unwrap();
    assert_eq!(report.kernel, KERNEL_RELEASE);
    assert!(begun.elapsed() >= Duration::from_secs(3));
    let early = CallCx::new("test", Duration::from_secs(30));
    let again = host.guest().accept(&early, VM).await.err().expect("it was heard").kind();
    assert_eq!(again, ErrorKind::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_found_no_door_is_heard_once_there_is_one() {
    let host = InMemoryHost::new();
    start(&host, 1).await;
    host.daemon_died();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(host.guest().accept(&cx(), VM).await.err().unwrap().kind(), ErrorKind::NotFound);
    host.guest().ensure_open(&cx(), VM, Cid::FIRST).await.unwrap();
    ready(&host).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_impostor_is_told_apart_and_a_mute_guest_delays_nobody_else() {
    let host = running().await;
    host.behave(VM, |guest| guest.wrong_secret = true);
    let stream = host.guest().connect(&cx(), VM, AGENT_PORT).await.unwrap();
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let error = handshake::host(&mut reader, &mut writer, &secret(), Purpose::Call).await.unwrap_err();
    assert_eq!(error.reason(), Some("agent_untrusted"));
    host.behave(VM, |guest| (guest.wrong_secret, guest.mute) = (false, true));
    let stream = host.guest().connect(&cx(), VM, AGENT_PORT).await.unwrap();
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let secret = secret();
    let silent = handshake::host(&mut reader, &mut writer, &secret, Purpose::Call);
    assert!(tokio::time::timeout(Duration::from_secs(60), silent).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn programs_say_what_a_shell_would_expect_of_them() {
    let host = running().await;
    for (script, out, err, end) in [
        ("uname -a", format!("Linux web {KERNEL_RELEASE} #1 SIMULATED by minions simulated GNU/Linux\n"), "", 0),
        ("echo a; false && echo b || echo c; exit 3", "a\nc\n".to_owned(), "", 3),
        ("nonsense", String::new(), "sh: nonsense: not found\n", 127),
        ("echo out; echo err >&2", "out\n".to_owned(), "err\n", 0),
        ("A=1; echo $A$B; B=2 env sh -c 'echo $A-$B'", "1\n-2\n".to_owned(), "", 0),
        ("cd /etc; pwd; cat motd > /tmp/m && wc -c /tmp/m; ls /tmp", "/etc\n70 /tmp/m\nm\n".to_owned(), "", 0),
        ("sh -c 'kill -9 $$'; echo $?", "137\n".to_owned(), "", 0),
        ("cat /nowhere; echo $?", "1\n".to_owned(), "cat: /nowhere: no such file or directory\n", 0),
        (
            "mkdir /data/a; echo x >> /data/a/b; echo y >> /data/a/b; cat /data/a/b; rm -r /data/a; ls /data",
            "x\ny\n".to_owned(),
            "",
            0,
        ),
        ("printf 'a\\nb\\n' > /f; wc -l < /f; head -n 1 /f; hostname", "2\na\nweb\n".to_owned(), "", 0),
    ] {
        let want = Ran { out, err: err.to_owned(), end: Some(ExecEvent::Exited { code: end }) };
        assert_eq!(sh(&host, script).await, want, "{script}");
    }
    let killed = sh(&host, "kill -TERM $$; echo not reached").await;
    assert_eq!(killed, Ran { end: Some(ExecEvent::Signaled { signal: Signal::TERM }), ..Ran::default() });
    let mut absent = call(&host, &GuestCall::Exec(ExecRequest::new(["/bin/nonsense"]))).await;
    let Some(ExecEvent::Failed { error }) = finish(&mut absent).await.end else { panic!("it ran") };
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_runs_is_ended_by_a_signal_and_by_a_host_that_hangs_up() {
    let host = running().await;
    let mut client = call(&host, &GuestCall::Exec(ExecRequest::new(["sleep", "1000"]))).await;
    client.writer.message(&ExecControl::Signal { signal: Signal::INT }).await.unwrap();
    assert_eq!(finish(&mut client).await.end, Some(ExecEvent::Signaled { signal: Signal::INT }));
    drop(client);
    let client = call(&host, &GuestCall::Exec(ExecRequest::new(["sleep", "1000"]))).await;
    drop(client);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let Reply::Health(health) = call(&host, &GuestCall::Health).await.reader.message().await.unwrap() else {
        panic!("health was due")
    };
    assert_eq!(health.connections, 1);
}

#[tokio::test]
async fn a_long_stream_passes_within_the_window_and_equals_the_file() {
    let host = running().await;
    let mut request = ExecRequest::new(["sha256sum"]);
    request.stdin = true;
    let mut client = call(&host, &GuestCall::Exec(request)).await;
    let chunk = Bytes::from(vec![0u8; MAX_DATA]);
    let (mut left, mut window) = ((8u64 << 20) / MAX_DATA as u64, STDIN_WINDOW);
    while left > 0 {
        while window >= MAX_DATA && left > 0 {
            client.writer.send(&Frame::Data { channel: 0, bytes: chunk.clone() }).await.unwrap();
            (left, window) = (left - 1, window - MAX_DATA);
        }
        if let ExecEvent::StdinTaken { bytes } = client.reader.message().await.unwrap() {
            window += bytes as usize;
        }
    }
    client.writer.send(&Frame::End { channel: 0 }).await.unwrap();
    let through_stdin = finish(&mut client).await.out;
    let from_file = sh(&host, "head -c 8MiB /dev/zero > /data/z; sha256sum /data/z; wc -c /data/z").await;
    let sum = through_stdin.split(' ').next().unwrap();
    assert_eq!(from_file.out, format!("{sum}  /data/z\n8388608 /data/z\n"));
}

#[tokio::test(start_paused = true)]
async fn a_terminal_echoes_resizes_and_passes_ctrl_c_to_what_runs() {
    let host = running().await;
    let mut request = ExecRequest::new(["sh"]);
    request.tty = Some(Tty { size: TtySize { rows: 24, cols: 80 }, term: None });
    request.stdin = true;
    let mut client = call(&host, &GuestCall::Exec(request)).await;
    for typed in ["stty size\r", "sleep 1000\r"] {
        client.writer.send(&Frame::Data { channel: 0, bytes: typed.into() }).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    client.writer.message(&ExecControl::Resize(TtySize { rows: 50, cols: 132 })).await.unwrap();
    for typed in ["\x03", "echo $?; stty size\r", "exit 4\r"] {
        client.writer.send(&Frame::Data { channel: 0, bytes: typed.into() }).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let ran = finish(&mut client).await;
    assert_eq!(ran.end, Some(ExecEvent::Exited { code: 4 }));
    for part in ["stty size\r\n24 80\r\n", "^C\r\n", "130\r\n50 132\r\n"] {
        assert!(ran.out.contains(part), "{part:?} in {:?}", ran.out);
    }
}

#[tokio::test(start_paused = true)]
async fn files_survive_a_stop_and_a_start() {
    let host = running().await;
    assert_eq!(sh(&host, "echo root > /root/a; echo data > /data/a").await.err, "");
    host.hypervisor().ensure_absent(&cx(), VM, &StopHow::DEFAULT).await.unwrap();
    assert!(host.census().monitors.is_empty());
    start(&host, 2).await;
    ready(&host).await.unwrap();
    assert_eq!(sh(&host, "cat /root/a /data/a").await.out, "root\ndata\n");
}

#[tokio::test(start_paused = true)]
async fn files_are_written_whole_read_in_parts_listed_and_refused() {
    let host = running().await;
    let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 253) as u8).collect();
    let write = WriteFile { path: "/data/x/y".to_owned(), mode: Some(0o600), uid: None, gid: None, parents: true };
    let mut client = call(&host, &GuestCall::WriteFile(write.clone())).await;
    send(&mut client, &bytes).await;
    assert_eq!(client.reader.message::<Reply>().await.unwrap(), Reply::Done { bytes: 100_000, entries: 1 });
    // One that breaks off leaves the old content.
    let mut broken = call(&host, &GuestCall::WriteFile(write)).await;
    broken.writer.send(&Frame::Data { channel: 0, bytes: "short".into() }).await.unwrap();
    drop(broken);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let read = ReadFile { path: "/data/x/y".to_owned(), offset: 99_990, limit: None };
    let mut client = call(&host, &GuestCall::ReadFile(read)).await;
    let Reply::Info(info) = client.reader.message().await.unwrap() else { panic!("info was due") };
    assert_eq!((info.kind, info.size, info.mode), (FileKind::File, 100_000, 0o600));
    assert_eq!(data(&mut client).await, bytes[99_990..]);
    let list = GuestCall::List(ListRequest { path: "/data/x".to_owned() });
    let Reply::Entries { entries, last: true } = call(&host, &list).await.reader.message().await.unwrap() else {
        panic!("entries were due")
    };
    assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["y"]);
    let stat = GuestCall::Stat { path: "/nowhere".to_owned() };
    let reply: Reply = call(&host, &stat).await.reader.message().await.unwrap();
    assert_eq!(reply.ok().unwrap_err().kind(), ErrorKind::NotFound);
    let full = sh(&host, "head -c 100MiB /dev/zero > /big").await;
    assert_eq!((full.err.as_str(), full.end), ("head: no space left on device\n", Some(ExecEvent::Exited { code: 1 })));
}

#[tokio::test(start_paused = true)]
async fn a_tree_of_files_goes_out_as_tar_and_comes_back_the_same() {
    let host = running().await;
    let long = "n".repeat(120);
    let script =
        format!("mkdir -p /data/t/{long}; echo 1 > /data/t/a; echo 22 > /data/t/{long}/b; touch /data/t/empty");
    assert_eq!(sh(&host, &script).await.err, "");
    let mut client = call(&host, &GuestCall::TarOut { path: "/data/t".to_owned() }).await;
    assert!(matches!(client.reader.message().await.unwrap(), Reply::Info(_)));
    let tar = data(&mut client).await;
    assert_eq!(tar.len() % 512, 0);
    let mut client = call(&host, &GuestCall::TarIn { dest: "/root/new".to_owned() }).await;
    send(&mut client, &tar).await;
    let Reply::Done { entries, .. } = client.reader.message().await.unwrap() else { panic!("done was due") };
    assert_eq!(entries, 5);
    assert_eq!(
        sh(&host, &format!("cat /root/new/t/a /root/new/t/{long}/b; ls /root/new/t")).await.out,
        format!("1\n22\na\nempty\n{long}\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_tar_stream_that_leaves_its_directory_is_refused() {
    let host = running().await;
    sh(&host, "mkdir /data/t; echo 1 > /data/t/abc").await;
    let mut client = call(&host, &GuestCall::TarOut { path: "/data/t/abc".to_owned() }).await;
    assert!(matches!(client.reader.message().await.unwrap(), Reply::Info(_)));
    let mut tar = data(&mut client).await;
    tar[..6].copy_from_slice(b"../abc");
    let mut client = call(&host, &GuestCall::TarIn { dest: "/root".to_owned() }).await;
    send(&mut client, &tar).await;
    let reply: Reply = client.reader.message().await.unwrap();
    assert_eq!(reply.ok().unwrap_err().reason(), Some("unsafe_entry"));
}

#[tokio::test(start_paused = true)]
async fn port_80_says_hello_with_the_name_and_others_are_refused() {
    let host = running().await;
    let mut client = call(&host, &GuestCall::Forward { port: 80 }).await;
    assert_eq!(client.reader.message::<Reply>().await.unwrap(), Reply::Accepted);
    let request = "GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    client.writer.send(&Frame::Data { channel: 0, bytes: request.into() }).await.unwrap();
    let answer = String::from_utf8(data(&mut client).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(&format!("\r\n\r\nhello from web ({VM})\n")), "{answer}");
    let reply: Reply = call(&host, &GuestCall::Forward { port: 81 }).await.reader.message().await.unwrap();
    assert_eq!(reply.ok().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn connections_end_with_the_monitor_and_a_shutdown_ends_the_monitor() {
    let host = running().await;
    let mut client = call(&host, &GuestCall::Exec(ExecRequest::new(["sleep", "1000"]))).await;
    let mut asked = call(&host, &GuestCall::Shutdown { how: PowerHow::Orderly }).await;
    assert_eq!(asked.reader.message::<Reply>().await.unwrap(), Reply::Accepted);
    host.hypervisor().wait_exit(&cx(), VM).await.unwrap();
    while let Ok(Some(_)) = client.reader.next().await {}
    assert!(host.census().monitors.is_empty());
    assert_eq!(host.guest().connect(&cx(), VM, AGENT_PORT).await.err().unwrap().kind(), ErrorKind::NotFound);
}
