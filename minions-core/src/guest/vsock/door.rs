//! One VM's door: the socket at which its guest knocks, and the connections that went through.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::ready_socket;
use super::stream::{GuestStream, hang_up};
use crate::host::files;

/// How many knocks are kept that nobody has answered: the newest, since an older one is of a boot that is over.
const BACKLOG: usize = 4;

/// A door that this process listens at.
#[derive(Debug)]
pub(super) struct Door {
    shared: Arc<Shared>,
    listening: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    knocked: Notify,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: VecDeque<UnixStream>,
    /// What went through and may still be open.
    through: Vec<Weak<UnixStream>>,
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
        let shared = Arc::new(Shared::default());
        let listening = tokio::spawn(listen(listener, shared.clone())).abort_handle();
        Ok(Self { shared, listening })
    }

    /// The next knock, or `None` when the door is closed. A caller that gives up takes none with it.
    pub async fn accept(&self) -> Option<UnixStream> {
        loop {
            let knocked = self.shared.knocked.notified();
            tokio::pin!(knocked);
            // Enlisted before the look, so that a knock between look and wait is heard.
            knocked.as_mut().enable();
            let (closed, next) = self.shared.with(|state| (state.closed, state.waiting.pop_front()));
            match (closed, next) {
                (false, Some(stream)) => return Some(stream),
                (true, _) => return None,
                (false, None) => knocked.await,
            }
        }
    }

    /// Counts a connection as one through this door. `None` when it is closed or has too many.
    pub fn adopt(&self, stream: UnixStream, most: usize) -> Option<GuestStream> {
        let stream = Arc::new(stream);
        let counted = self.shared.with(|state| {
            state.through.retain(|one| one.strong_count() > 0);
            let room = !state.closed && state.through.len() < most;
            if room {
                state.through.push(Arc::downgrade(&stream));
            }
            room
        });
        counted.then(|| GuestStream::new(stream))
    }

    /// Nobody goes through any more, and who did is cut off.
    pub fn close(&self) {
        self.listening.abort();
        let through = self.shared.with(|state| {
            state.closed = true;
            state.waiting.clear();
            std::mem::take(&mut state.through)
        });
        for stream in through.iter().filter_map(Weak::upgrade) {
            hang_up(&stream);
        }
        self.shared.knocked.notify_waiters();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: UnixListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                shared.with(|state| {
                    if state.waiting.len() == BACKLOG {
                        state.waiting.pop_front();
                    }
                    state.waiting.push_back(stream);
                });
                // All who wait look; one finds it.
                shared.knocked.notify_waiters();
            }
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
