//! What paths are, and what directories hold.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use tokio::io::AsyncWrite;

use super::absolute;
use crate::agent::error::{about, blocking};
use crate::api::guest::{FileEntry, FileInfo, FileKind, FrameWriter, ListRequest, Reply};
use crate::error::{Error, Result};
use crate::types::UnixMillis;

/// Most names in one reply, and most bytes of them: a control frame holds 64 KiB, and JSON may spell a byte as six.
const PART: usize = 128;
const PART_BYTES: usize = 4 * 1024;

pub(crate) async fn stat(path: String) -> Result<FileInfo> {
    blocking(move || info(&absolute(&path)?)).await
}

/// Sends the names of a directory in parts, in no order.
pub(crate) async fn list<W: AsyncWrite + Unpin>(request: ListRequest, mut writer: FrameWriter<W>) -> Result<()> {
    let (parts, mut queue) = tokio::sync::mpsc::channel(2);
    let worker = tokio::task::spawn_blocking(move || read(&request.path, &parts));
    while let Some(entries) = queue.recv().await {
        writer.message(&Reply::Entries { entries, last: false }).await?;
    }
    let done =
        worker.await.unwrap_or_else(|error| Err(Error::internal("the agent's work broke off").with_source(error)));
    writer
        .message(&match done {
            Ok(()) => Reply::Entries { entries: Vec::new(), last: true },
            Err(error) => Reply::Failed { error: (&error).into() },
        })
        .await
}

fn read(path: &str, parts: &tokio::sync::mpsc::Sender<Vec<FileEntry>>) -> Result<()> {
    let path = absolute(path)?;
    let mut part = Vec::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(&path).map_err(|error| about(path.display(), error))? {
        let entry = entry.map_err(|error| about(path.display(), error))?;
        // A name that is gone meanwhile is none.
        let Ok(info) = info(&entry.path()) else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        bytes += name.len() + info.target.as_ref().map_or(0, String::len);
        part.push(FileEntry { name, info });
        if part.len() == PART || bytes > PART_BYTES {
            bytes = 0;
            if parts.blocking_send(std::mem::take(&mut part)).is_err() {
                return Ok(());
            }
        }
    }
    // A host that hung up misses nothing.
    let _ = parts.blocking_send(part);
    Ok(())
}

pub(super) fn info(path: &Path) -> Result<FileInfo> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| about(path.display(), error))?;
    let mut info = of(&metadata);
    if info.kind == FileKind::Symlink {
        info.target = std::fs::read_link(path).ok().map(|target| target.to_string_lossy().into_owned());
    }
    Ok(info)
}

pub(super) fn of(metadata: &Metadata) -> FileInfo {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        _ => FileKind::Other,
    };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    FileInfo {
        kind,
        size: metadata.len(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: UnixMillis(u64::try_from(modified.as_millis()).unwrap_or(0)),
        target: None,
    }
}
