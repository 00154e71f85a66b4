//! Unpacks a tar stream below a directory.

use std::io::Read;
use std::path::Path;

use tar::EntryType;
use tokio::io::{AsyncRead, AsyncWrite};

use super::bridge::Incoming;
use super::{absolute, write};
use crate::agent::error::about;
use crate::api::guest::{FrameReader, FrameWriter};
use crate::error::{Error, Result};

pub(crate) async fn tar_in<R, W>(dest: String, reader: FrameReader<R>, writer: FrameWriter<W>) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    write::answer(reader, writer, move |mut incoming| {
        let entries = unpack(&dest, &mut incoming)?;
        Ok((incoming.taken, entries))
    })
    .await
}

fn unpack(dest: &str, incoming: &mut Incoming) -> Result<u64> {
    let dest = absolute(dest)?;
    std::fs::create_dir_all(&dest).map_err(|error| about(dest.display(), error))?;
    // From here on no link above the entries can move.
    let dest = dest.canonicalize().map_err(|error| about(dest.display(), error))?;
    let broken = |error: std::io::Error| about("the tar stream cannot be unpacked", error);
    let mut count = 0;
    let mut archive = tar::Archive::new(&mut *incoming);
    archive.set_overwrite(true);
    archive.set_preserve_mtime(true);
    // Directories come last: one that may not be written would keep its own entries out, and filling it changes its time.
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        match entry.header().entry_type() {
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Link
            | EntryType::Symlink => {
                place(&mut entry, &dest)?;
            }
            EntryType::Directory => directories.push(entry),
            EntryType::XGlobalHeader => continue,
            _ => return Err(refused(&entry, "is a device or a pipe")),
        }
        count += 1;
    }
    // The deepest first, for the same reasons.
    directories.sort_by(|one, other| other.path_bytes().cmp(&one.path_bytes()));
    for mut directory in directories {
        place(&mut directory, &dest)?;
    }
    // The padding after the end of an archive is part of the stream.
    std::io::copy(&mut incoming.by_ref(), &mut std::io::sink()).map_err(broken)?;
    Ok(count)
}

fn place<R: Read>(entry: &mut tar::Entry<'_, R>, dest: &Path) -> Result<()> {
    match entry.unpack_in(dest) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(entry, "would leave the directory")),
        Err(error) => Err(about("the tar stream cannot be unpacked", error)),
    }
}

fn refused<R: Read>(entry: &tar::Entry<'_, R>, why: &str) -> Error {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    Error::invalid("entry", format!("{name} {why}")).with_reason("unsafe_entry")
}
