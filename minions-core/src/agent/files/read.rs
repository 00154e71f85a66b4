//! Sends a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use tokio::io::AsyncWrite;

use super::bridge::write_through;
use super::{absolute, info};
use crate::agent::error::{about, blocking};
use crate::api::guest::{CHANNEL_MAIN, FileInfo, FileKind, Frame, FrameWriter, ReadFile, Reply};
use crate::error::{Error, ErrorKind, Result};

pub(crate) async fn read<W: AsyncWrite + Unpin>(request: ReadFile, mut writer: FrameWriter<W>) -> Result<()> {
    let (file, info, path) = match blocking(move || open(&request)).await {
        Ok(opened) => opened,
        Err(error) => return writer.message(&Reply::Failed { error: (&error).into() }).await,
    };
    writer.message(&Reply::Info(info)).await?;
    let sent = write_through(&mut writer, move |outgoing| {
        let mut file = file;
        while outgoing.fill_from(&mut file).map_err(|error| about(&path, error))? {
            outgoing
                .pass()
                .map_err(|error| Error::new(ErrorKind::Unavailable, "the host hung up").with_source(error))?;
        }
        Ok(())
    })
    .await;
    match sent {
        Ok(()) => writer.send(&Frame::End { channel: CHANNEL_MAIN }).await,
        Err(error) => writer.message(&Reply::Failed { error: (&error).into() }).await,
    }
}

type Opened = (std::io::Take<File>, FileInfo, String);

fn open(request: &ReadFile) -> Result<Opened> {
    let path = absolute(&request.path)?;
    let shown = || path.display();
    let metadata = std::fs::metadata(&path).map_err(|error| about(shown(), error))?;
    let info = info::of(&metadata);
    match info.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(about(shown(), std::io::ErrorKind::IsADirectory.into())),
        // A pipe or a device could keep the agent waiting for ever.
        FileKind::Symlink | FileKind::Other => {
            return Err(Error::invalid("path", format!("{} is not a regular file", shown())));
        }
    }
    let mut file = File::open(&path).map_err(|error| about(shown(), error))?;
    file.seek(SeekFrom::Start(request.offset)).map_err(|error| about(shown(), error))?;
    Ok((file.take(request.limit.unwrap_or(u64::MAX)), info, request.path.clone()))
}
