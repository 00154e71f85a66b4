//! Replaces a file whole, or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};

use super::absolute;
use super::bridge::{Incoming, read_through};
use crate::agent::error::about;
use crate::api::guest::{FrameReader, FrameWriter, Nonce, Reply, WriteFile};
use crate::error::{Error, Result};

/// How long a host that is told of a failure may take to hang up.
const LINGER: std::time::Duration = std::time::Duration::from_secs(5);

pub(crate) async fn write<R, W>(request: WriteFile, reader: FrameReader<R>, writer: FrameWriter<W>) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    answer(reader, writer, move |mut incoming| {
        replace(&request, &mut incoming)?;
        Ok((incoming.taken, 1))
    })
    .await
}

/// Runs work on the host's stream and answers with the bytes and entries that it took.
pub(super) async fn answer<R, W>(
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    work: impl FnOnce(Incoming) -> Result<(u64, u64)> + Send + 'static,
) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match read_through(&mut reader, work).await {
        Ok((bytes, entries)) => writer.message(&Reply::Done { bytes, entries }).await,
        Err(error) => {
            writer.message(&Reply::Failed { error: (&error).into() }).await?;
            // What the host still sends is read away, so that closing does not cut off what it is told.
            let rest = async { while let Ok(Some(_)) = reader.next().await {} };
            let _ = tokio::time::timeout(LINGER, rest).await;
            Ok(())
        }
    }
}

fn replace(request: &WriteFile, incoming: &mut Incoming) -> Result<()> {
    let asked = absolute(&request.path)?;
    let shown = asked.display();
    // A link is followed, so that what it points to is replaced and not the link.
    let path = match std::fs::canonicalize(&asked) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => asked.clone(),
        Err(error) => return Err(about(shown, error)),
    };
    let old = std::fs::symlink_metadata(&path).ok();
    if let Some(old) = &old {
        if old.is_dir() {
            return Err(about(shown, io::ErrorKind::IsADirectory.into()));
        }
        if !old.is_file() {
            return Err(Error::invalid("path", format!("{shown} is not a regular file")));
        }
    }
    let folder = path.parent().ok_or_else(|| about(shown.to_string(), io::ErrorKind::IsADirectory.into()))?;
    if request.parents {
        std::fs::create_dir_all(folder).map_err(|error| about(folder.display(), error))?;
    }
    let mode = request.mode.or(old.as_ref().map(MetadataExt::mode)).unwrap_or(0o644) & 0o7777;
    let owner =
        (request.uid.or(old.as_ref().map(MetadataExt::uid)), request.gid.or(old.as_ref().map(MetadataExt::gid)));
    let draft = Draft::create(folder).map_err(|error| about(&shown, error))?;
    let mut fill = |draft: &Draft| -> io::Result<()> {
        incoming.write_to(&mut &draft.file)?;
        std::os::unix::fs::fchown(&draft.file, owner.0, owner.1)?;
        // After the owner: a change of that takes bits away.
        draft.file.set_permissions(Permissions::from_mode(mode))?;
        draft.file.sync_all()
    };
    fill(&draft).map_err(|error| about(&shown, error))?;
    draft.publish(&path).map_err(|error| about(&shown, error))
}

/// A file under a name of its own, removed unless it is published.
struct Draft {
    file: File,
    path: Option<PathBuf>,
}

impl Draft {
    fn create(folder: &Path) -> io::Result<Self> {
        let random = Nonce::fresh().map_err(io::Error::other)?.to_string();
        let path = folder.join(format!(".minions-{}", &random[..16]));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path: Some(path) })
    }

    fn publish(mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            std::fs::rename(path, to)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Whoever removed it first did the same.
            let _ = std::fs::remove_file(path);
        }
    }
}
