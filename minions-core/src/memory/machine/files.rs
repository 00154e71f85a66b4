//! Files of a simulated guest, read and written by the host.

use bytes::Bytes;

use super::Machine;
use super::fs::absolute;
use super::session::{Reader, Writer};
use crate::api::guest::{CHANNEL_MAIN, Frame, ListRequest, ReadFile, Reply, WriteFile};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::blob::Blob;
use crate::memory::tree::Entry;

/// Bytes that go out in one frame.
const CHUNK: usize = 64 << 10;
/// Names that go out in one reply.
const NAMES: usize = 128;

pub(super) async fn read(machine: &Machine, request: &ReadFile, writer: &mut Writer) -> Result<()> {
    absolute(&request.path)?;
    let (info, blob) = machine.disks(|disks| Ok((disks.info(&request.path, true)?, disks.content(&request.path)?)))?;
    writer.message(&Reply::Info(info)).await?;
    send(&blob, request.offset, request.limit.unwrap_or(u64::MAX), writer).await?;
    writer.send(&Frame::End { channel: CHANNEL_MAIN }).await
}

/// Sends a part of a file's content.
pub(super) async fn send(blob: &Blob, offset: u64, limit: u64, writer: &mut Writer) -> Result<()> {
    let (mut at, end) = (offset, offset.saturating_add(limit).min(blob.len()));
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let bytes = blob.read(at, most);
        at += bytes.len() as u64;
        writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes: bytes.into() }).await?;
    }
    Ok(())
}

/// The next bytes that the host sends; `None` at the end.
pub(super) async fn received(reader: &mut Reader) -> Result<Option<Bytes>> {
    let broken = |message| Error::new(ErrorKind::InvalidArgument, message);
    match reader.next().await? {
        Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) => Ok(Some(bytes)),
        Some(Frame::End { channel: CHANNEL_MAIN }) => Ok(None),
        Some(_) => Err(broken("only the content was due")),
        None => Err(Error::new(ErrorKind::Unavailable, "the host hung up before the end of the content")),
    }
}

pub(super) async fn write(
    machine: &Machine,
    request: &WriteFile,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<()> {
    absolute(&request.path)?;
    let room = machine.disks(|disks| {
        // Looked at before the content comes: a write that cannot work shall fail at its beginning.
        let old = disks.info(&request.path, true).ok();
        if old.as_ref().is_some_and(|old| old.kind == crate::api::guest::FileKind::Directory) {
            return Err(crate::memory::tree::is_a_directory(&request.path));
        }
        Ok(old.map(|old| old.mode))
    })?;
    let mut blob = Blob::default();
    while let Some(bytes) = received(reader).await? {
        blob.append(&bytes);
    }
    let bytes = blob.len();
    machine.disks(|disks| {
        let mut entry = Entry::file(blob, disks.now());
        entry.mode = request.mode.or(room).unwrap_or(0o644) & 0o7777;
        entry.uid = request.uid.unwrap_or(0);
        entry.gid = request.gid.unwrap_or(0);
        disks.put(&request.path, entry, request.parents)
    })?;
    writer.message(&Reply::Done { bytes, entries: 1 }).await
}

pub(super) async fn list(machine: &Machine, request: &ListRequest, writer: &mut Writer) -> Result<()> {
    absolute(&request.path)?;
    let mut entries = machine.disks(|disks| disks.list(&request.path))?;
    loop {
        let rest = entries.split_off(entries.len().min(NAMES));
        let last = rest.is_empty();
        writer.message(&Reply::Entries { entries, last }).await?;
        if last {
            return Ok(());
        }
        entries = rest;
    }
}
