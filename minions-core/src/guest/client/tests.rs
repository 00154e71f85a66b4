//! The client against agents that are hostile, slow or broken (CTL-2.2).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::*;
use crate::api::guest::handshake::{self, AgentIdentity};
use crate::api::guest::{
    Clamp, ExecEvent, ExecRequest, Frame, FrameReader, FrameWriter, GuestCall, Health, Nonce, Purpose, Reply, Untrusted,
};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::GuestIoBox;
use crate::types::AgentSecret;

const LIMIT: Duration = Duration::from_secs(5);

fn secret(byte: u8) -> AgentSecret {
    AgentSecret::from_bytes([byte; 32])
}

/// Health through a hello and a call, against an agent that does as told with its end of the connection. Says how long
/// it took, too; time is paused.
async fn health_against<F>(agent: impl FnOnce(DuplexStream) -> F) -> (Result<Untrusted<Health>>, Duration)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (host, guest) = tokio::io::duplex(4096);
    let agent = tokio::spawn(agent(guest));
    let began = Instant::now();
    let deadline = began + LIMIT;
    let result = async {
        let (mut io, _) = prove(Box::new(host), &secret(1), Purpose::Call, deadline).await?;
        begin(&mut io, &GuestCall::Health, deadline).await?;
        health(io, deadline).await
    }
    .await;
    let took = began.elapsed();
    // Whatever it does: once the client has let go, an agent's connection is at its end.
    agent.abort();
    (result, took)
}

/// The agent's half of an honest hello, and the call read.
async fn hello(io: &mut DuplexStream) {
    let identity =
        AgentIdentity { secret: secret(1), boot_nonce: Nonce::from_bytes([7; 32]), agent_version: "test".to_owned() };
    let (read, write) = tokio::io::split(io);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    handshake::agent(&mut reader, &mut writer, &identity, Purpose::Call).await.unwrap();
    reader.message::<GuestCall>().await.unwrap();
}

fn encoded(message: &impl serde::Serialize) -> BytesMut {
    let mut bytes = BytesMut::new();
    Frame::control(message).unwrap().encode(&mut bytes);
    bytes
}

fn healthy() -> Reply {
    Reply::Health(Health { uptime_ms: 5, agent_version: "x".to_owned(), connections: 1 })
}

fn assert_timed_out(outcome: (Result<Untrusted<Health>>, Duration)) {
    assert_eq!(outcome.0.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(outcome.1, LIMIT, "the deadline is total, not one for each read");
}

fn assert_broken(outcome: (Result<Untrusted<Health>>, Duration)) {
    let error = outcome.0.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some("agent_unhealthy")), "{}", error.chain());
    assert_eq!(outcome.1, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_honest_agent_is_heard() {
    let (result, _) = health_against(|mut io| async move {
        hello(&mut io).await;
        io.write_all(&encoded(&healthy())).await.unwrap();
    })
    .await;
    assert_eq!(result.unwrap().clamp().uptime_ms, 5);
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_1_a_mute_agent_costs_the_deadline_and_no_more() {
    assert_timed_out(
        health_against(|io| async move {
            let _io = io;
            std::future::pending::<()>().await;
        })
        .await,
    );
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_2_an_agent_that_accepts_and_never_replies_costs_the_deadline() {
    assert_timed_out(
        health_against(|mut io| async move {
            hello(&mut io).await;
            std::future::pending::<()>().await;
        })
        .await,
    );
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_3_one_byte_a_second_does_not_move_the_deadline() {
    assert_timed_out(
        health_against(|mut io| async move {
            hello(&mut io).await;
            for byte in encoded(&healthy()) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if io.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        })
        .await,
    );
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_4_an_endless_frame_is_refused_from_its_length() {
    assert_broken(
        health_against(|mut io| async move {
            hello(&mut io).await;
            let _ = io.write_all(&[0xff; 5]).await;
            while io.write_all(&[b'a'; 1024]).await.is_ok() {}
        })
        .await,
    );
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_5_endless_frames_that_are_not_due_end_with_the_first() {
    assert_broken(
        health_against(|mut io| async move {
            hello(&mut io).await;
            let mut bytes = BytesMut::new();
            Frame::Data { channel: 0, bytes: Bytes::from_static(b"noise") }.encode(&mut bytes);
            while io.write_all(&bytes).await.is_ok() {}
        })
        .await,
    );
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_6_an_agent_that_proves_another_connection_is_untrusted() {
    let (result, _) = health_against(|io| async move {
        let (read, write) = tokio::io::split(io);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        let identity =
            AgentIdentity { secret: secret(2), boot_nonce: Nonce::from_bytes([7; 32]), agent_version: String::new() };
        let _ = handshake::agent(&mut reader, &mut writer, &identity, Purpose::Call).await;
    })
    .await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("agent_untrusted")));
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_7_of_two_replies_the_first_counts_and_the_second_is_never_read() {
    let (result, _) = health_against(|mut io| async move {
        hello(&mut io).await;
        let mut bytes = encoded(&healthy());
        bytes.extend_from_slice(&encoded(&Reply::Health(Health { uptime_ms: 666, ..Health::default() })));
        let _ = io.write_all(&bytes).await;
    })
    .await;
    assert_eq!(result.unwrap().clamp().uptime_ms, 5);
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_8_a_huge_error_is_cut_and_cannot_steer_a_terminal() {
    let (result, _) = health_against(|mut io| async move {
        hello(&mut io).await;
        let message = format!("\u{1b}]0;owned\u{7}{}", "é\u{202e}".repeat(10_000));
        let error =
            crate::api::guest::WireError { kind: ErrorKind::NotFound, reason: Some("own_reason".into()), message };
        let _ = io.write_all(&encoded(&Reply::Failed { error })).await;
    })
    .await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, None));
    assert_eq!(error.message(), "é".repeat(256));
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_9_a_reply_that_is_not_utf_8_is_a_typed_error() {
    assert_broken(
        health_against(|mut io| async move {
            hello(&mut io).await;
            let mut bytes = BytesMut::new();
            Frame::Control(Bytes::from_static(b"{\"reply\":\"\xff\xfe\"}")).encode(&mut bytes);
            let _ = io.write_all(&bytes).await;
            std::future::pending::<()>().await;
        })
        .await,
    );
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_10_numbers_that_are_none_are_a_typed_error() {
    for number in ["NaN", "-1", "1e999", "18446744073709551616", "null"] {
        let text = format!("{{\"reply\":\"health\",\"uptime_ms\":{number}}}");
        assert_broken(
            health_against(|mut io| async move {
                hello(&mut io).await;
                let mut bytes = BytesMut::new();
                Frame::Control(Bytes::from(text)).encode(&mut bytes);
                let _ = io.write_all(&bytes).await;
                std::future::pending::<()>().await;
            })
            .await,
        );
    }
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_11_a_connection_closed_in_the_middle_of_a_frame_is_a_typed_error() {
    assert_broken(
        health_against(|mut io| async move {
            hello(&mut io).await;
            let bytes = encoded(&healthy());
            let _ = io.write_all(&bytes[..bytes.len() - 3]).await;
        })
        .await,
    );
}

#[tokio::test(start_paused = true)]
async fn ctl_2_2_12_a_reply_after_the_deadline_finds_nobody() {
    let (host, mut guest) = tokio::io::duplex(4096);
    let agent = tokio::spawn(async move {
        hello(&mut guest).await;
        tokio::time::sleep(LIMIT * 2).await;
        guest.write_all(&encoded(&healthy())).await
    });
    let deadline = Instant::now() + LIMIT;
    let (mut io, _) = prove(Box::new(host), &secret(1), Purpose::Call, deadline).await.unwrap();
    begin(&mut io, &GuestCall::Health, deadline).await.unwrap();
    assert_eq!(health(io, deadline).await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert!(agent.await.unwrap().is_err(), "the connection was closed when the time was up");
}

#[tokio::test(start_paused = true)]
async fn numbers_that_fit_no_machine_are_brought_into_their_range() {
    let (result, _) = health_against(|mut io| async move {
        hello(&mut io).await;
        let health = Health { uptime_ms: u64::MAX, agent_version: "\u{1b}[2J".repeat(50), connections: 0 };
        let _ = io.write_all(&encoded(&Reply::Health(health))).await;
    })
    .await;
    let health = result.unwrap().clamp();
    assert_eq!((health.uptime_ms, health.agent_version.as_str()), (1 << 60, ""));
    assert_eq!(health.clone().clamp(), health);
}

#[tokio::test(start_paused = true)]
async fn a_listing_without_end_is_given_up() {
    let (host, mut guest) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let entry = crate::api::guest::FileEntry {
            name: "x".to_owned(),
            info: crate::api::guest::FileInfo {
                kind: crate::api::guest::FileKind::File,
                size: 0,
                mode: 0,
                uid: 0,
                gid: 0,
                modified: crate::types::UnixMillis(0),
                target: None,
            },
        };
        let bytes = encoded(&Reply::Entries { entries: vec![entry; 500], last: false });
        while guest.write_all(&bytes).await.is_ok() {}
    });
    let error = list(Box::new(host), Instant::now() + Duration::from_secs(600)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
}

fn session() -> (ExecInput, ExecOutput, DuplexStream) {
    let (host, guest) = tokio::io::duplex(8 << 20);
    let (input, output) = exec(Box::new(host) as GuestIoBox);
    (input, output, guest)
}

#[tokio::test(start_paused = true)]
async fn stdin_stops_at_the_window_and_a_signal_still_gets_through() {
    let (input, mut output, mut guest) = session();
    let writer = input.clone();
    let feeding = tokio::spawn(async move { writer.write(Bytes::from(vec![0; 4 << 20])).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!feeding.is_finished(), "nobody takes, so nobody may send on");
    input.signal(crate::api::guest::Signal::INT).await.unwrap();
    let mut reader = FrameReader::new(&mut guest);
    let mut sent = 0;
    while let Some(Frame::Data { bytes, .. }) = reader.next().await.unwrap() {
        sent += bytes.len();
    }
    assert_eq!(sent, crate::api::guest::STDIN_WINDOW);
    guest.write_all(&encoded(&ExecEvent::Exited { code: 0 })).await.unwrap();
    assert!(matches!(output.next().await.unwrap(), Some(ExecItem::End(ExecEnd::Exited(0)))));
    assert_eq!(feeding.await.unwrap().unwrap_err().reason(), Some("exec_ended"));
    assert!(output.next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_takes_more_stdin_than_there_was_is_cut_off() {
    let (_input, mut output, mut guest) = session();
    guest.write_all(&encoded(&ExecEvent::StdinTaken { bytes: u64::MAX })).await.unwrap();
    assert_eq!(output.next().await.unwrap_err().reason(), Some("agent_unhealthy"));
}

#[tokio::test(start_paused = true)]
async fn a_program_whose_connection_breaks_has_not_ended_well() {
    let (_input, mut output, guest) = session();
    drop(guest);
    assert_eq!(output.next().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_download_that_breaks_off_is_an_error_and_never_an_end() {
    let (host, mut guest) = tokio::io::duplex(4096);
    let info = crate::api::guest::FileInfo {
        kind: crate::api::guest::FileKind::File,
        size: 9,
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: crate::types::UnixMillis(0),
        target: None,
    };
    let mut bytes = encoded(&Reply::Info(info));
    Frame::Data { channel: 0, bytes: Bytes::from_static(b"half") }.encode(&mut bytes);
    guest.write_all(&bytes).await.unwrap();
    drop(guest);
    let (mut download, _) = Download::begin(Box::new(host), Instant::now() + LIMIT).await.unwrap();
    assert_eq!(download.next().await.unwrap().unwrap(), "half");
    assert_eq!(download.next().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_refuses_an_upload_is_heard_while_it_is_sent() {
    let (host, mut guest) = tokio::io::duplex(4096);
    let agent = tokio::spawn(async move {
        let mut first = [0; 100];
        guest.read_exact(&mut first).await.unwrap();
        let error = (&Error::new(ErrorKind::Exhausted, "no room").with_reason("no_space")).into();
        guest.write_all(&encoded(&Reply::Failed { error })).await.unwrap();
        guest
    });
    let mut upload = Upload::new(Box::new(host));
    let error = upload.write(Bytes::from(vec![1; 1 << 20])).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Exhausted, Some("no_space")));
    drop(agent.await);
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    let failed = |kind| ExecEnd::Failed(Error::new(kind, "x")).exit_code();
    assert_eq!(ExecEnd::Exited(3).exit_code(), 3);
    assert_eq!(ExecEnd::Signaled(crate::api::guest::Signal::KILL).exit_code(), 137);
    assert_eq!((failed(ErrorKind::NotFound), failed(ErrorKind::Denied), failed(ErrorKind::Internal)), (127, 126, 255));
    assert!(ExecRequest::default().check().is_err());
}
