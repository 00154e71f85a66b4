//! One VM's door: the socket at which its guest knocks.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use super::{ready_socket, wire};
use crate::guest::door::{Line, Passage};
use crate::guest::stream::GuestStream;
use crate::host::files;

/// A door that this process listens at.
#[derive(Debug)]
pub(super) struct Door {
    passage: Arc<Passage>,
    listening: AbortHandle,
}

impl Door {
    /// Takes the place of whatever a process before us left there.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = ready_socket(dir);
        let listener = loop {
            files::make_dir(dir)?;
            files::absent(&path)?;
            match UnixListener::bind(&path) {
                // The monitor's side removed the empty folder between our two steps.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                bound => break bound?,
            }
        };
        // Who gets through the folder is for its owner to say: its monitor may be in its group, and nobody else.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
        let passage = Arc::new(Passage::default());
        let listening = tokio::spawn(listen(listener, passage.clone())).abort_handle();
        Ok(Self { passage, listening })
    }

    /// The next knock, or `None` when the door is closed. A caller that gives up takes none with it.
    pub async fn accept(&self) -> Option<Line> {
        self.passage.accept().await
    }

    /// Counts a connection as one through this door. `None` when it is closed or has too many.
    pub fn adopt(&self, line: Line, most: usize) -> Option<GuestStream> {
        self.passage.adopt(line, most)
    }

    /// Nobody goes through any more, and who did is cut off.
    pub fn close(&self) {
        self.listening.abort();
        self.passage.close();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: UnixListener, passage: Arc<Passage>) {
    loop {
        let knock = async { wire::line(listener.accept().await?.0) };
        match knock.await {
            Ok(line) => passage.knock(line),
            Err(error) => {
                // Too many open files, most likely: the knock stays in the socket's queue until some are closed.
                tracing::warn!(%error, "cannot take a guest's connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Removes what is left of a door, and the folder if nothing else is in it.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    files::absent(&ready_socket(dir))?;
    match std::fs::remove_dir(dir) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(error),
        _ => Ok(()),
    }
}

/// Whether anything is left of a door.
pub(super) fn is_left(dir: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(ready_socket(dir)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
