//! Files and tar streams, between the agent and the host's client.
#![cfg(all(feature = "agent", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod agent_rig;

use std::os::unix::fs::PermissionsExt;

use agent_rig::{Noise, agent, open, run, secret, sh, soon, text};
use bytes::Bytes;
use minions_core::api::guest::{ExecRequest, FileKind, GuestCall, ListRequest, Purpose, ReadFile, WriteFile};
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
