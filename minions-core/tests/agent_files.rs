//! Files and tar streams, between the agent and the host's client.
#![cfg(all(feature = "agent", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod agent_rig;

use std::os::unix::fs::PermissionsExt;

use agent_rig::{Noise, agent, open, run, secret, sh, soon, text};
use bytes::Bytes;
use minions_core::api::guest::{
    CHANNEL_MAIN, ExecRequest, FileKind, Frame, FrameReader, FrameWriter, GuestCall, ListRequest, Purpose, ReadFile,
    Reply, ScpMode, ScpRequest, WriteFile,
};
use minions_core::guest::client::{self, Download, Moved, Upload};
use minions_core::{ErrorKind, Result};
use tokio::net::UnixStream;

async fn upload(call: GuestCall, bytes: Bytes) -> Result<Moved> {
    let mut upload = Upload::new(open(call).await);
    upload.write(bytes).await?;
    upload.finish(soon()).await.map(|moved| moved.expose())
}

async fn download(call: GuestCall) -> Result<Vec<u8>> {
    let (mut download, _) = Download::begin(open(call).await, soon()).await?;
    let mut all = Vec::new();
    while let Some(bytes) = download.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

fn write_file(path: &std::path::Path) -> GuestCall {
    GuestCall::WriteFile(WriteFile { path: text(path), mode: None, uid: None, gid: None, parents: false })
}

#[tokio::test]
async fn files_are_written_whole_read_back_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let content = Noise(9).piece(1_000_003);
    assert_eq!(upload(write_file(&path), content.clone()).await.unwrap(), Moved { bytes: 1_000_003, entries: 1 });
    let read = |offset, limit| GuestCall::ReadFile(ReadFile { path: text(&path), offset, limit });
    assert_eq!(download(read(0, None)).await.unwrap(), content);
    assert_eq!(download(read(10, Some(5))).await.unwrap(), content[10..15]);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o750)).unwrap();
    upload(write_file(&path), Bytes::from_static(b"new")).await.unwrap();
    let info = client::stat(open(GuestCall::Stat { path: text(&path) }).await, soon()).await.unwrap().clamp();
    assert_eq!((info.kind, info.size, info.mode), (FileKind::File, 3, 0o750));
    let names =
        client::list(open(GuestCall::List(ListRequest { path: text(folder.path()) })).await, soon()).await.unwrap();
    let names: Vec<_> = names.into_iter().map(|entry| entry.clamp().name).collect();
    assert_eq!(names, ["file"], "no draft is left");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_the_old_file_and_no_draft() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "old").unwrap();
    let (host, guest) = UnixStream::pair().unwrap();
    let serving = tokio::spawn(agent().serve_stream(guest));
    let (mut io, _) = client::prove(Box::new(host), &secret(), Purpose::Call, soon()).await.unwrap();
    client::begin(&mut io, &write_file(&path), soon()).await.unwrap();
    let mut upload = Upload::new(io);
    upload.write(Bytes::from(vec![1; 1 << 20])).await.unwrap();
    drop(upload);
    let _ = serving.await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn paths_that_cannot_be_served_say_why() {
    let kind = |result: Result<Vec<u8>>| result.unwrap_err().kind();
    let read = |path: &str| download(GuestCall::ReadFile(ReadFile { path: path.to_owned(), offset: 0, limit: None }));
    assert_eq!(kind(read("/no/such/file").await), ErrorKind::NotFound);
    assert_eq!(kind(read("relative").await), ErrorKind::InvalidArgument);
    assert_eq!(kind(read("/dev/zero").await), ErrorKind::InvalidArgument);
    let error = read("/etc").await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::InvalidArgument, Some("is_a_directory")));
    let error = upload(write_file("/dev/null".as_ref()), Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_tree_goes_out_as_a_tar_stream_and_comes_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    std::fs::create_dir_all(from.join("a/b/empty")).unwrap();
    for number in 0..500 {
        std::fs::write(from.join(format!("a/{number}")), Noise(number + 1).piece(usize::try_from(number).unwrap() * 7))
            .unwrap();
    }
    std::fs::write(from.join("a/b").join("long-".repeat(40)), "long").unwrap();
    std::fs::write(from.join("tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(from.join("tool"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(from.join("a/b/empty"), PermissionsExt::from_mode(0o500)).unwrap();
    std::os::unix::fs::symlink("../tool", from.join("a/link")).unwrap();
    let stream = download(GuestCall::TarOut { path: text(&from) }).await.unwrap();
    let to = folder.path().join("new/place");
    let moved = upload(GuestCall::TarIn { dest: text(&to) }, stream.into()).await.unwrap();
    assert_eq!(moved.entries, 500 + 3 + 4);
    let listing = |root: &std::path::Path| {
        let find = "find . -printf '%P %y %m %s %l\\n' | grep -v ' d ' | sort; find . -type d -printf '%P %m\\n' | sort; \
             find . -type f | sort | xargs cat | sha256sum";
        ExecRequest { cwd: Some(text(root)), ..sh(find) }
    };
    let (one, other) = (run(listing(&from)).await, run(listing(&to.join("tree"))).await);
    assert!(one.out().lines().count() > 500);
    assert_eq!(one.out(), other.out());
}

fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Bytes {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap().into()
}

fn entry(kind: tar::EntryType, name: &str, link: Option<&str>) -> tar::Header {
    let mut header = tar::Header::new_old();
    // Written as bytes: the library would refuse such names itself.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    header
}

#[tokio::test]
async fn no_entry_of_a_tar_stream_leaves_its_directory() {
    use tar::EntryType::{Char, Fifo, Link, Regular, Symlink};
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let out = text(&outside);
    let cases: Vec<Vec<tar::Header>> = vec![
        vec![entry(Regular, "../escape", None)],
        vec![entry(Regular, "a/../../escape", None)],
        vec![entry(Symlink, "door", Some(&out)), entry(Regular, "door/escape", None)],
        vec![entry(Symlink, "door", Some("../outside")), entry(Regular, "door/escape", None)],
        vec![entry(Link, "copy", Some("../outside/secret"))],
        vec![entry(Symlink, "door", Some(&out)), entry(Link, "copy", Some("door/secret"))],
        vec![entry(Char, "device", None)],
        vec![entry(Fifo, "pipe", None)],
    ];
    for (number, headers) in cases.into_iter().enumerate() {
        let dest = folder.path().join(format!("dest{number}"));
        let bytes =
            archive(|builder| headers.iter().for_each(|header| builder.append(header, std::io::empty()).unwrap()));
        let result = upload(GuestCall::TarIn { dest: text(&dest) }, bytes).await;
        assert!(result.is_err(), "case {number} was unpacked");
        let left: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["secret"], "case {number}");
        assert!(!folder.path().join("escape").exists(), "case {number}");
        assert!(!dest.join("copy").exists(), "case {number}");
    }
    // An absolute name is taken as one below the directory.
    let dest = folder.path().join("absolute");
    upload(
        GuestCall::TarIn { dest: text(&dest) },
        archive(|builder| {
            builder.append(&entry(Regular, "/etc/inside", None), std::io::empty()).unwrap();
        }),
    )
    .await
    .unwrap();
    assert!(dest.join("etc/inside").exists());
}

/// A client's end of a stream of bytes in the guest.
struct Wire {
    reader: FrameReader<tokio::io::ReadHalf<minions_core::guest::GuestIoBox>>,
    writer: FrameWriter<tokio::io::WriteHalf<minions_core::guest::GuestIoBox>>,
    read: Vec<u8>,
}

impl Wire {
    async fn open(call: GuestCall) -> Self {
        let (read, write) = tokio::io::split(open(call).await);
        let mut reader = FrameReader::new(read);
        assert_eq!(reader.message::<Reply>().await.unwrap(), Reply::Accepted);
        Self { reader, writer: FrameWriter::new(write), read: Vec::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes: bytes.to_vec().into() }).await.unwrap();
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            let Some(Frame::Data { bytes, .. }) = self.reader.next().await.unwrap() else { panic!("it ended") };
            self.read.extend_from_slice(&bytes);
        }
        let rest = self.read.split_off(length);
        std::mem::replace(&mut self.read, rest)
    }

    /// An answer's kind, and what comes after its number.
    async fn ask(&mut self, kind: u8, parts: &[&[u8]]) -> (u8, Vec<u8>) {
        let id: &[u8] = if kind == 1 { &[] } else { &[0, 0, 0, 9] };
        let body = [&[kind][..], id, &parts.concat()].concat();
        self.send(&[&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()).await;
        let head = self.take(9).await;
        let length = u32::from_be_bytes(head[..4].try_into().unwrap());
        (head[4], self.take(usize::try_from(length).unwrap() - 5).await)
    }

    async fn end(mut self) -> Option<Frame> {
        self.writer.send(&Frame::End { channel: CHANNEL_MAIN }).await.unwrap();
        self.reader.next().await.unwrap()
    }
}

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[tokio::test]
async fn sftp_serves_the_files_that_there_are() {
    const NONE: [u8; 4] = [0; 4];
    const STATUS: u8 = 101;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| string(text(&folder.path().join(name)));
    let mut wire = Wire::open(GuestCall::Sftp).await;
    assert_eq!(wire.ask(1, &[&[0, 0, 0, 3]]).await.0, 2);
    // Made with bits that a umask takes off, written in two places, read back, closed.
    let open = |flags: u32| flags.to_be_bytes();
    let mode = [0, 0, 0, 4, 0, 0, 0o1, 0o377];
    let (kind, handle) = wire.ask(3, &[&at("file"), &open(2 | 8 | 32), &mode]).await;
    assert_eq!(kind, 102);
    let write = |offset: u64, bytes: &[u8]| [&handle[..], &offset.to_be_bytes(), &string(bytes)].concat();
    assert_eq!(wire.ask(6, &[&write(3, b"def")]).await.1[..4], NONE);
    assert_eq!(wire.ask(6, &[&write(0, b"abc")]).await.1[..4], NONE);
    assert_eq!(wire.ask(4, &[&handle]).await.1[..4], NONE);
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"abcdef");
    let made = std::fs::metadata(folder.path().join("file")).unwrap().permissions().mode();
    assert_eq!(made & 0o022, 0, "{made:o}");
    assert_eq!(wire.ask(3, &[&at("file"), &open(2 | 8 | 32), &NONE]).await.0, STATUS, "it is there already");
    let (_, handle) = wire.ask(3, &[&at("file"), &open(1), &NONE]).await;
    let read = |offset: u64, most: u32| [&handle[..], &offset.to_be_bytes(), &most.to_be_bytes()].concat();
    assert_eq!(wire.ask(5, &[&read(4, u32::MAX)]).await, (103, string("ef")));
    assert_eq!(wire.ask(5, &[&read(6, 1)]).await.1[..4], [0, 0, 0, 1], "the end");
    // Attributes, by the path and through a link, which itself is another thing.
    std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
    let change = [0, 0, 0, 4 | 8, 0, 0, 0o1, 0o200, 0, 0, 0, 5, 0, 0, 0, 7];
    assert_eq!(wire.ask(9, &[&at("link"), &change]).await.1[..4], NONE);
    let (kind, attrs) = wire.ask(17, &[&at("file")]).await;
    assert_eq!((kind, &attrs[attrs.len() - 12..]), (105, &[0, 0, 0o201, 0o200, 0, 0, 0, 5, 0, 0, 0, 7][..]));
    assert_eq!(wire.ask(7, &[&at("link")]).await.1[22..24], [0xa1, 0xff], "{attrs:?}");
    // A name that is taken stays, unless it is to go.
    std::fs::write(folder.path().join("other"), "other").unwrap();
    assert_eq!(wire.ask(18, &[&at("file"), &at("other")]).await.1[..4], [0, 0, 0, 4]);
    assert_eq!(wire.ask(200, &[&string("posix-rename@openssh.com"), &at("file"), &at("other")]).await.1[..4], NONE);
    assert_eq!(std::fs::read(folder.path().join("other")).unwrap(), b"abcdef");
    // A pipe keeps nobody waiting.
    let made = run(sh(&format!("mkfifo {}/pipe", folder.path().display()))).await;
    assert_eq!(made.end.exit_code(), 0);
    for flags in [1, 2, 3] {
        assert_eq!(wire.ask(3, &[&at("pipe"), &open(flags), &NONE]).await.0, STATUS);
    }
    assert_eq!(wire.ask(3, &[&at(""), &open(1), &NONE]).await.0, STATUS, "a directory is no file");
    assert_eq!(wire.ask(17, &[&at("nothing")]).await.1[..4], [0, 0, 0, 2]);
    // More names than one answer holds, and one that is no text.
    for number in 0..300 {
        std::fs::write(folder.path().join(format!("n{number}")), "").unwrap();
    }
    let odd: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(b"\xff\n".to_vec());
    std::fs::write(folder.path().join(odd), "").unwrap();
    let (_, handle) = wire.ask(11, &[&at("")]).await;
    let (mut names, mut odd) = (0, false);
    loop {
        let (kind, part) = wire.ask(12, &[&handle]).await;
        if kind == STATUS {
            assert_eq!(part[..4], [0, 0, 0, 1]);
            break;
        }
        names += u32::from_be_bytes(part[..4].try_into().unwrap());
        odd |= part.windows(6).any(|bytes| bytes == b"\0\0\0\x02\xff\n");
    }
    assert!(names == 304 && odd, "{names}");
    assert!(matches!(wire.end().await, Some(Frame::End { .. })));
}

#[tokio::test]
async fn what_is_no_sftp_is_told_so_and_ends() {
    for bytes in [&[0xff; 9][..], &[0, 0, 0, 5, 17, 0, 0, 0, 1], &[0, 0, 0, 0]] {
        let mut wire = Wire::open(GuestCall::Sftp).await;
        wire.send(bytes).await;
        let last = wire.reader.next().await.unwrap().unwrap();
        assert!(matches!(last.message::<Reply>(), Ok(Reply::Failed { .. })), "{bytes:?}: {last:?}");
    }
}

#[tokio::test]
async fn scp_takes_no_file_anywhere_but_where_it_was_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let request = ScpRequest {
        mode: ScpMode::Sink,
        recursive: true,
        preserve: true,
        directory: true,
        paths: vec![text(&folder.path().join("in"))],
    };
    let mut wire = Wire::open(GuestCall::Scp(request.clone())).await;
    assert_eq!(wire.take(1).await, [0]);
    wire.send(b"D0750 0 sub\n").await;
    assert_eq!(wire.take(1).await, [0]);
    wire.send(b"T7 0 5 0\n").await;
    assert_eq!(wire.take(1).await, [0]);
    wire.send(b"C0604 5 file\n").await;
    assert_eq!(wire.take(1).await, [0]);
    wire.send(b"hello\0").await;
    assert_eq!(wire.take(1).await, [0]);
    wire.send(b"E\n").await;
    assert_eq!(wire.take(1).await, [0]);
    assert!(matches!(wire.end().await, Some(Frame::End { .. })));
    let file = folder.path().join("in/sub/file");
    let metadata = std::fs::metadata(&file).unwrap();
    let modified = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(
        (std::fs::read(&file).unwrap(), metadata.permissions().mode() & 0o7777, modified),
        (b"hello".to_vec(), 0o604, 7)
    );
    for hostile in ["C0644 1 ../out\n", "C0644 1 ..\n", "D0755 0 /etc\n", "E\n", "C0644 x y\n", "X\n", "\x02\n"] {
        let mut wire = Wire::open(GuestCall::Scp(request.clone())).await;
        assert_eq!(wire.take(1).await, [0]);
        wire.send(hostile.as_bytes()).await;
        let last = wire.reader.next().await.unwrap().unwrap();
        assert!(matches!(last.message::<Reply>(), Ok(Reply::Failed { .. })), "{hostile:?}: {last:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
