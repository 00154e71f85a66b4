//! Sends a file or a directory as a tar stream.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::io::AsyncWrite;

use super::bridge::{Outgoing, write_through};
use super::{absolute, info};
use crate::agent::error::{about, blocking};
use crate::api::guest::{CHANNEL_MAIN, Frame, FrameWriter, Reply};
use crate::error::{Error, Result};

pub(crate) async fn tar_out<W: AsyncWrite + Unpin>(path: String, mut writer: FrameWriter<W>) -> Result<()> {
    let looked = blocking(move || {
        let path = absolute(&path)?;
        let info = info::info(&path)?;
        Ok((path, info))
    });
    let (path, info) = match looked.await {
        Ok(looked) => looked,
        Err(error) => return writer.message(&Reply::Failed { error: (&error).into() }).await,
    };
    writer.message(&Reply::Info(info)).await?;
    match write_through(&mut writer, move |outgoing| pack(&path, outgoing)).await {
        Ok(()) => writer.send(&Frame::End { channel: CHANNEL_MAIN }).await,
        Err(error) => writer.message(&Reply::Failed { error: (&error).into() }).await,
    }
}

fn pack(path: &Path, outgoing: &mut Outgoing) -> Result<()> {
    // The root of the file system has no name of its own.
    let name = path.file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut archive = tar::Builder::new(&mut *outgoing);
    // A stack, not a recursion: depth is the guest's to choose.
    let mut todo = vec![(path.to_path_buf(), name)];
    while let Some((path, name)) = todo.pop() {
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // Gone since its directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(about(path.display(), error)),
        };
        append(&mut archive, &path, &name, &metadata).map_err(|error| about(path.display(), error))?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(|error| about(path.display(), error))? {
                let entry = entry.map_err(|error| about(path.display(), error))?;
                todo.push((entry.path(), name.join(entry.file_name())));
            }
        }
    }
    archive.finish().map_err(|error| Error::internal("cannot end a tar stream").with_source(error))
}

fn append(archive: &mut tar::Builder<&mut Outgoing>, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(metadata);
    if metadata.is_file() {
        let file = File::open(path)?;
        let size = metadata.len();
        header.set_size(size);
        archive.append_data(&mut header, name, Exactly { file, left: size })
    } else if metadata.is_dir() {
        header.set_size(0);
        archive.append_data(&mut header, name, io::empty())
    } else if metadata.is_symlink() {
        header.set_size(0);
        archive.append_link(&mut header, name, std::fs::read_link(path)?)
    } else {
        // Sockets, pipes and devices have no content to send.
        Ok(())
    }
}

/// A file that has exactly the size that was announced, even if it changes meanwhile: cut, or filled with zeros.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        let read = match self.file.read(&mut to[..most])? {
            0 => {
                to[..most].fill(0);
                most
            }
            read => read,
        };
        self.left -= read as u64;
        Ok(read)
    }
}
