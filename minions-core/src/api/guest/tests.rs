//! The protocol against itself, and against bytes that are none.

use bytes::{Bytes, BytesMut};

use super::handshake::{self, AgentIdentity};
use super::*;
use crate::error::ErrorKind;
use crate::types::AgentSecret;

fn frames() -> Vec<Frame> {
    vec![
        Frame::control(&GuestCall::Health).unwrap(),
        Frame::Data { channel: 0, bytes: Bytes::from_static(b"x") },
        Frame::Data { channel: 1, bytes: Bytes::from(vec![7; MAX_DATA]) },
        Frame::Control(Bytes::from(format!("{{\"a\":\"{}\"}}", "b".repeat(MAX_CONTROL - 8)))),
        Frame::End { channel: 1 },
        Frame::End { channel: 0 },
    ]
}

#[test]
fn frames_read_back_however_their_bytes_are_cut() {
    let mut bytes = BytesMut::new();
    frames().iter().for_each(|frame| frame.encode(&mut bytes));
    for piece in [1, 2, 3, 5, 7, 4096, MAX_FRAME, bytes.len()] {
        let mut decoder = FrameDecoder::new();
        let mut read = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.feed(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                read.push(frame);
            }
        }
        assert_eq!(read, frames(), "cut into pieces of {piece}");
        assert_eq!(decoder.finish(), Ok(()));
    }
}

#[test]
fn bad_20_lengths_beyond_the_caps_are_refused_from_their_head_alone() {
    let cases: &[(&[u8], FrameError)] = &[
        (&[0, 0, 0, 0], FrameError::Empty),
        (&[0xff, 0xff, 0xff, 0xff], FrameError::TooLong { length: 0xffff_ffff, most: MAX_DATA + 2 }),
        (&[0, 4, 0, 3], FrameError::TooLong { length: MAX_DATA + 3, most: MAX_DATA + 2 }),
        (&[0, 1, 0, 2, 0], FrameError::TooLong { length: MAX_CONTROL + 1, most: MAX_CONTROL }),
        (&[0, 0, 0, 2, 1], FrameError::WrongLength { kind: 1, length: 2 }),
        (&[0, 0, 0, 1, 2], FrameError::WrongLength { kind: 2, length: 1 }),
        (&[0, 0, 0, 3, 2], FrameError::WrongLength { kind: 2, length: 3 }),
        (&[0, 0, 0, 1, 9], FrameError::UnknownKind(9)),
    ];
    for (head, want) in cases {
        let mut decoder = FrameDecoder::new();
        decoder.feed(head);
        assert_eq!(decoder.next_frame().as_ref(), Err(want), "{head:?}");
        decoder.feed(&[0, 0, 0, 2, 2, 0]);
        assert_eq!(decoder.next_frame().as_ref(), Err(want), "the stream stays lost");
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated() {
    let mut decoder = FrameDecoder::new();
    decoder.feed(&[0, 0, 0, 5, 1, 0, b'a']);
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.finish(), Err(FrameError::Truncated));
}

#[test]
fn a_payload_beyond_the_cap_goes_out_as_several_frames() {
    let payload = Bytes::from(vec![3; MAX_DATA * 2 + 1]);
    let mut bytes = BytesMut::new();
    Frame::Data { channel: 0, bytes: payload.clone() }.encode(&mut bytes);
    let mut decoder = FrameDecoder::new();
    decoder.feed(&bytes);
    let mut joined = Vec::new();
    while let Some(Frame::Data { bytes, .. }) = decoder.next_frame().unwrap() {
        joined.extend_from_slice(&bytes);
    }
    assert_eq!(joined, payload);
}

#[test]
fn random_bytes_never_panic_and_never_hold_more_than_they_brought() {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..5_000 {
        let mut decoder = FrameDecoder::new();
        let bytes: Vec<u8> =
            (0..next() % 64).map(|_| if next() % 3 == 0 { (next() % 4) as u8 } else { next() as u8 }).collect();
        decoder.feed(&bytes);
        let mut payload = 0;
        while let Ok(Some(frame)) = decoder.next_frame() {
            payload += match &frame {
                Frame::Control(text) => text.len(),
                Frame::Data { bytes, .. } => bytes.len(),
                Frame::End { .. } => 0,
            };
            let _ = frame.message::<GuestCall>();
        }
        assert!(payload <= bytes.len());
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_variants_are_typed_errors() {
    let newer = Frame::Control(Bytes::from_static(br#"{"call":"stat","path":"/etc","from_the_future":[1]}"#));
    assert_eq!(newer.message(), Ok(GuestCall::Stat { path: "/etc".to_owned() }));
    let unknown = Frame::Control(Bytes::from_static(br#"{"call":"fly"}"#));
    assert!(matches!(unknown.message::<GuestCall>(), Err(FrameError::BadControl(_))));
    assert!(matches!(Frame::End { channel: 0 }.message::<GuestCall>(), Err(FrameError::NotControl)));
}

#[test]
fn every_call_reads_back_and_only_the_hosts_own_are_closed_to_tenants() {
    let path = || "/tmp/é".to_owned();
    let mut exec = ExecRequest::new(["sh", "-c", "true"]);
    exec.tty = Some(Tty { size: TtySize { rows: 24, cols: 80 }, term: Some("xterm".to_owned()) });
    exec.env.insert("A".to_owned(), "b=c".to_owned());
    let calls = [
        GuestCall::Health,
        GuestCall::Status,
        GuestCall::Exec(exec),
        GuestCall::ReadFile(ReadFile { path: path(), offset: 3, limit: Some(9) }),
        GuestCall::WriteFile(WriteFile { path: path(), mode: Some(0o600), uid: None, gid: Some(4), parents: true }),
        GuestCall::Stat { path: path() },
        GuestCall::List(ListRequest { path: path() }),
        GuestCall::TarIn { dest: path() },
        GuestCall::TarOut { path: path() },
        GuestCall::Forward { port: 80 },
        GuestCall::Sftp,
        GuestCall::Scp(ScpRequest {
            mode: ScpMode::Sink,
            recursive: true,
            preserve: false,
            directory: true,
            paths: vec![path()],
        }),
        GuestCall::Network,
        GuestCall::GrowFilesystem { target: FsTarget::Data },
        GuestCall::Shutdown { how: PowerHow::Orderly },
    ];
    for call in &calls {
        assert_eq!(Frame::control(call).unwrap().message().as_ref(), Ok(call));
    }
    let closed: Vec<_> = calls.iter().filter(|call| !call.for_tenant()).map(GuestCall::name).collect();
    assert_eq!(closed, ["grow_filesystem", "shutdown"]);
}

fn identity(secret: u8) -> AgentIdentity {
    AgentIdentity {
        secret: AgentSecret::from_bytes([secret; 32]),
        boot_nonce: Nonce::from_bytes([9; 32]),
        agent_version: "1\u{1b}[31m.2".to_owned(),
    }
}

async fn shake(host: (u8, Purpose), agent: (u8, Purpose)) -> (crate::Result<handshake::Peer>, crate::Result<u32>) {
    let (one, other) = tokio::io::duplex(1 << 16);
    let host = async move {
        let (read, write) = tokio::io::split(one);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        let secret = AgentSecret::from_bytes([host.0; 32]);
        let peer = handshake::host(&mut reader, &mut writer, &secret, host.1).await;
        let _ = writer.flush().await;
        peer
    };
    let agent = async move {
        let (read, write) = tokio::io::split(other);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        handshake::agent(&mut reader, &mut writer, &identity(agent.0), agent.1).await
    };
    tokio::join!(host, agent)
}

#[tokio::test]
async fn both_sides_prove_the_secret() {
    let (host, agent) = shake((1, Purpose::Call), (1, Purpose::Call)).await;
    let peer = host.unwrap();
    assert_eq!(peer.boot_nonce, Nonce::from_bytes([9; 32]));
    assert_eq!(peer.agent_version, "1.2");
    assert_eq!(agent.unwrap(), 1);
}

#[tokio::test]
async fn an_agent_without_the_secret_is_untrusted_and_learns_nothing() {
    let (host, agent) = shake((1, Purpose::Call), (2, Purpose::Call)).await;
    let error = host.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("agent_untrusted")));
    assert!(agent.is_err());
}

#[tokio::test]
async fn a_hello_for_one_purpose_cannot_be_relayed_to_the_other() {
    let (host, _) = shake((1, Purpose::Ready), (1, Purpose::Call)).await;
    assert_eq!(host.unwrap_err().reason(), Some("agent_untrusted"));
}

#[tokio::test]
async fn a_host_without_the_secret_gets_no_call_through() {
    let (one, other) = tokio::io::duplex(1 << 16);
    let host = async move {
        let (read, write) = tokio::io::split(one);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        let nonce = Nonce::from_bytes([1; 32]);
        writer.message(&Hello::Host { versions: vec![1], nonce }).await.unwrap();
        let _: Hello = reader.message().await.unwrap();
        writer.message(&Hello::HostProof { proof: Proof::from_bytes([0; 32]) }).await.unwrap();
        reader.message::<Hello>().await.unwrap()
    };
    let agent = async move {
        let (read, write) = tokio::io::split(other);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        handshake::agent(&mut reader, &mut writer, &identity(1), Purpose::Call).await
    };
    let (refused, agent) = tokio::join!(host, agent);
    assert!(matches!(refused, Hello::Refused { reason, .. } if reason == "proof"));
    assert_eq!(agent.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn without_a_common_version_both_sides_say_so() {
    let (one, other) = tokio::io::duplex(1 << 16);
    let host = async move {
        let (read, write) = tokio::io::split(one);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        writer.message(&Hello::Host { versions: vec![77], nonce: Nonce::from_bytes([1; 32]) }).await.unwrap();
        reader.message::<Hello>().await.unwrap()
    };
    let agent = async move {
        let (read, write) = tokio::io::split(other);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        handshake::agent(&mut reader, &mut writer, &identity(1), Purpose::Call).await
    };
    let (refused, agent) = tokio::join!(host, agent);
    assert!(matches!(refused, Hello::Refused { reason, .. } if reason == "version"));
    assert_eq!(agent.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn whoever_reads_gets_whole_frames_in_their_order_however_often_their_writer_was_dropped() {
    for room in [1, 7, 5_000, 100_000] {
        let (ours, theirs) = tokio::io::duplex(room);
        let sent: Vec<Frame> = (1..20u8).map(|number| large(number, usize::from(number) * 1_000)).collect();
        let reading = tokio::spawn(async move {
            let mut reader = FrameReader::new(theirs);
            let mut read = Vec::new();
            while let Some(frame) = reader.next().await.unwrap() {
                read.push(frame);
            }
            read
        });
        // One that takes slices, as sockets do.
        let mut writer = FrameWriter::new(Vectored(ours));
        for (number, frame) in sent.iter().enumerate() {
            if number % 3 == 0 {
                writer.queue(frame);
                continue;
            }
            {
                let mut dropped = std::pin::pin!(writer.send(frame));
                // As far as it gets at once, which may be half of it.
                let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(dropped.as_mut().poll(cx))).await;
            }
            if number % 2 == 0 {
                writer.flush().await.unwrap();
            }
        }
        writer.flush().await.unwrap();
        drop(writer);
        // A dropped call may have sent nothing, but nobody else's frame is lost or cut for that.
        let mut read = reading.await.unwrap().into_iter().peekable();
        for (number, frame) in sent.iter().enumerate() {
            assert!(read.next_if_eq(frame).is_some() || number % 3 != 0, "frame {number}, room for {room}");
        }
        assert_eq!(read.next(), None, "room for {room}");
    }
}

fn large(fill: u8, length: usize) -> Frame {
    Frame::Data { channel: 0, bytes: Bytes::from(vec![fill; length]) }
}

struct Vectored(tokio::io::DuplexStream);

impl tokio::io::AsyncWrite for Vectored {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0)
            .poll_write(cx, &slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
