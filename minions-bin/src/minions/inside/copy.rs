//! `minions cp`.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use minions_core::api::guest::{FileInfo, FileKind, GuestCall, ReadFile, WriteFile};
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::guest::client::{Download, Upload, stat};
use minions_core::service::VmRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::archive::{self, Beside, QUEUE, Tally};
use super::path::{End, last_part};
use super::{pipe, soon};
use crate::cli::Copy;
use crate::client::Client;
use crate::output::{Outcome, Output, spell};

/// Bytes of a file that are read at a time.
const PIECE: usize = 256 << 10;

/// How long the guest may take to put everything it got on its disk.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(600);

pub async fn run(client: &Client, output: &Output, args: &Copy) -> Outcome {
    let start = Instant::now();
    let tally = match (End::parse(&args.from)?, End::parse(&args.to)?) {
        (End::Here(from), End::There(vm, to)) => upload(client, &from, &vm, &to).await?,
        (End::There(vm, from), End::Here(to)) => download(client, &vm, &from, &to).await?,
        (End::Pipe, End::There(vm, to)) => pipe::upload(client, &vm, &to).await?,
        (End::There(..), End::Pipe) if output.json => {
            return Err(Error::invalid("json", "stdout is the file's; leave out --json").into());
        }
        (End::There(vm, from), End::Pipe) => pipe::download(client, &vm, &from).await?,
        _ => {
            let message = "one of the two is in a VM and one is here: minions cp a web:/b, or minions cp web:/a b";
            return Err(Error::invalid("path", message).into());
        }
    };
    if output.json {
        output.object(&serde_json::json!({ "bytes": tally.bytes, "files": tally.files }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if tally.left_out > 0 {
        output.note(&format!("left out {} sockets, pipes or devices", tally.left_out));
    }
    let files = if tally.files == 1 { "1 file".to_owned() } else { format!("{} files", tally.files) };
    let bytes = minions_core::types::ByteSize::bytes(tally.bytes);
    output.note(&format!("copied {files}, {bytes}, in {}", spell(start.elapsed())));
    Ok(ExitCode::SUCCESS)
}

/// One file with so much in it.
pub fn one_file(bytes: u64) -> Tally {
    Tally { files: 1, bytes, left_out: 0 }
}

/// What a path in a VM is; `None` where there is nothing.
pub async fn look(client: &Client, vm: &VmRef, path: &str) -> Result<Option<FileInfo>> {
    let io = client.plane.open(&client.caller, vm, &GuestCall::Stat { path: path.to_owned() }).await?;
    match stat(io, soon()).await {
        Ok(info) => Ok(Some(info.clamp())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a path in a VM is a folder, or a link to one.
pub async fn is_folder(client: &Client, vm: &VmRef, path: &str) -> Result<bool> {
    match look(client, vm, path).await? {
        Some(info) if info.kind == FileKind::Symlink => {
            // What a link leads to has no stat of its own, but a folder holds itself.
            let inside = look(client, vm, &format!("{path}/.")).await;
            Ok(matches!(inside, Ok(Some(info)) if info.kind == FileKind::Directory))
        }
        found => Ok(found.is_some_and(|info| info.kind == FileKind::Directory)),
    }
}

async fn upload(client: &Client, from: &Path, vm: &VmRef, to: &str) -> Result<Tally> {
    let meta = fs::metadata(from).map_err(|error| here("read", from, error))?;
    let folder = to.ends_with('/') || is_folder(client, vm, to).await?;
    let name = fs::canonicalize(from).map_err(|error| here("read", from, error))?;
    let name =
        name.file_name().ok_or_else(|| Error::invalid("path", "the whole machine is too much to copy"))?.to_owned();
    if meta.is_dir() {
        // Into a folder that is there under the folder's own name; else as that very path.
        let (dest, prefix) =
            if folder { (to.to_owned(), PathBuf::from(name)) } else { (to.to_owned(), PathBuf::from(".")) };
        return upload_folder(client, from, vm, dest, prefix).await;
    }
    let dest = if folder {
        let name = name.to_str().ok_or_else(|| Error::invalid("path", "the name of the file is not UTF-8"))?;
        format!("{}/{name}", to.trim_end_matches('/'))
    } else {
        to.to_owned()
    };
    let mode = Some(meta.permissions().mode() & 0o777);
    let call = GuestCall::WriteFile(WriteFile { path: dest, mode, uid: None, gid: None, parents: false });
    let file = tokio::fs::File::open(from).await.map_err(|error| here("read", from, error))?;
    upload_file(client, vm, call, file, from).await
}

/// Sends a file, as far as `from` can be read. `shown` is what it is called here.
pub async fn upload_file(
    client: &Client,
    vm: &VmRef,
    call: GuestCall,
    mut from: impl AsyncRead + Unpin,
    shown: &Path,
) -> Result<Tally> {
    let mut upload = Upload::new(client.plane.open(&client.caller, vm, &call).await?);
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    loop {
        let count = from.read(&mut piece).await.map_err(|error| here("read", shown, error))?;
        if count == 0 {
            break;
        }
        upload.write(Bytes::copy_from_slice(&piece[..count])).await?;
        total += u64::try_from(count).unwrap_or(u64::MAX);
    }
    upload.finish(Instant::now() + SETTLE).await?;
    Ok(one_file(total))
}

async fn upload_folder(client: &Client, from: &Path, vm: &VmRef, dest: String, prefix: PathBuf) -> Result<Tally> {
    let mut upload = Upload::new(client.plane.open(&client.caller, vm, &GuestCall::TarIn { dest }).await?);
    let (to, mut pieces) = mpsc::channel(QUEUE);
    let from = from.to_owned();
    let packing = tokio::task::spawn_blocking(move || archive::pack(&from, &prefix, to));
    while let Some(piece) = pieces.recv().await {
        upload.write(piece).await?;
    }
    // A folder that was not packed whole must not look like one that was.
    let packed = packing.await.map_err(stopped)??;
    upload.finish(Instant::now() + SETTLE).await?;
    Ok(packed)
}

async fn download(client: &Client, vm: &VmRef, from: &str, to: &Path) -> Result<Tally> {
    let absent = || Error::not_found(format!("there is no {from} in {vm}"));
    let info = look(client, vm, from).await?.ok_or_else(absent)?;
    let name = last_part(from).ok_or_else(|| Error::invalid("path", "name a file or a folder below the root"))?;
    let into_folder = fs::metadata(to).is_ok_and(|meta| meta.is_dir());
    let target = if into_folder { to.join(name) } else { to.to_owned() };
    match info.kind {
        FileKind::Directory => download_folder(client, vm, from, name, to, into_folder).await,
        FileKind::File | FileKind::Symlink => download_file(client, vm, from, &target, info.mode).await,
        FileKind::Other => Err(Error::invalid("path", format!("{from} is neither a file nor a folder"))),
    }
}

async fn download_file(client: &Client, vm: &VmRef, from: &str, target: &Path, mode: u32) -> Result<Tally> {
    let call = GuestCall::ReadFile(ReadFile { path: from.to_owned(), offset: 0, limit: None });
    let io = client.plane.open(&client.caller, vm, &call).await?;
    let (mut download, _) = Download::begin(io, soon()).await?;
    let beside = Beside::new(target, &unique()).map_err(|error| here("write", target, error))?;
    let part = beside.path().join("part");
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode & 0o777);
    let file = options.open(&part).map_err(|error| here("write", target, error))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut total = 0;
    while let Some(piece) = download.next().await? {
        file.write_all(&piece).await.map_err(|error| here("write", target, error))?;
        total += u64::try_from(piece.len()).unwrap_or(u64::MAX);
    }
    file.flush().await.map_err(|error| here("write", target, error))?;
    // Whole or not at all.
    fs::rename(&part, target).map_err(|error| here("write", target, error))?;
    Ok(one_file(total))
}

async fn download_folder(
    client: &Client,
    vm: &VmRef,
    from: &str,
    name: &str,
    to: &Path,
    into_folder: bool,
) -> Result<Tally> {
    let call = GuestCall::TarOut { path: from.trim_end_matches('/').to_owned() };
    let io = client.plane.open(&client.caller, vm, &call).await?;
    let (mut download, _) = Download::begin(io, soon()).await?;
    let beside =
        if into_folder { None } else { Some(Beside::new(to, &unique()).map_err(|error| here("write", to, error))?) };
    let into = beside.as_ref().map_or(to, Beside::path).to_owned();
    let (pieces, stream) = mpsc::channel(QUEUE);
    let unpacking = tokio::task::spawn_blocking({
        let into = into.clone();
        move || archive::unpack(stream, &into)
    });
    let broken = loop {
        match download.next().await {
            Ok(Some(piece)) => {
                // Whoever stopped unpacking says why below.
                if pieces.send(piece).await.is_err() {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    drop(pieces);
    let unpacked = unpacking.await.map_err(stopped)?;
    if let Some(error) = broken {
        return Err(error);
    }
    let tally = unpacked?;
    if let Some(beside) = beside {
        fs::rename(beside.path().join(name), to).map_err(|error| here("write", to, error))?;
    }
    Ok(tally)
}

/// For a name that nobody else takes.
fn unique() -> String {
    Env::system().operation_id().short()
}

fn here(verb: &str, path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {verb} {}", path.display())).with_source(error)
}

fn stopped(error: tokio::task::JoinError) -> Error {
    Error::internal("file work ended early").with_source(error)
}
