//! What every door has, whatever its guest knocks at: the knocks that nobody has answered yet, and the connections that went
//! through.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::stream::{GuestStream, hang_up};

/// How many knocks are kept that nobody has answered: the newest, since an older one is of a boot that is over.
const BACKLOG: usize = 4;

/// A connected socket.
pub(super) type Line = AsyncFd<OwnedFd>;

/// A socket that is connected and does not block, as doors count them.
#[expect(unsafe_code, reason = "tokio asks its caller to vouch that the descriptor stays open and the same")]
pub(super) fn line(socket: OwnedFd) -> io::Result<Line> {
    // SAFETY: an `OwnedFd` names one descriptor for its whole life, owns it, and closes it only when it is dropped,
    // which is after the runtime has let go of it.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// One VM's knocks and connections.
#[derive(Debug, Default)]
pub(super) struct Passage {
    state: Mutex<State>,
    knocked: Notify,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: VecDeque<Line>,
    /// What went through and may still be open.
    through: Vec<Weak<Line>>,
}

impl Passage {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The guest knocks. At a closed door it is turned away.
    pub fn knock(&self, line: Line) {
        self.with(|state| {
            if state.closed {
                return;
            }
            if state.waiting.len() == BACKLOG {
                state.waiting.pop_front();
            }
            state.waiting.push_back(line);
        });
        // All who wait look; one finds it.
        self.knocked.notify_waiters();
    }

    /// The next knock, or `None` when the door is closed. A caller that gives up takes none with it.
    pub async fn accept(&self) -> Option<Line> {
        loop {
            let knocked = self.knocked.notified();
            tokio::pin!(knocked);
            // Enlisted before the look, so that a knock between look and wait is heard.
            knocked.as_mut().enable();
            let (closed, next) = self.with(|state| (state.closed, state.waiting.pop_front()));
            match (closed, next) {
                (false, Some(line)) => return Some(line),
                (true, _) => return None,
                (false, None) => knocked.await,
            }
        }
    }

    /// Counts a connection as one through this door. `None` when it is closed or has too many.
    pub fn adopt(&self, line: Line, most: usize) -> Option<GuestStream> {
        let line = Arc::new(line);
        let counted = self.with(|state| {
            state.through.retain(|one| one.strong_count() > 0);
            let room = !state.closed && state.through.len() < most;
            if room {
                state.through.push(Arc::downgrade(&line));
            }
            room
        });
        counted.then(|| GuestStream::new(line))
    }

    /// Nobody goes through any more, and who did is cut off.
    pub fn close(&self) {
        let through = self.with(|state| {
            state.closed = true;
            state.waiting.clear();
            std::mem::take(&mut state.through)
        });
        for line in through.iter().filter_map(Weak::upgrade) {
            hang_up(&line);
        }
        self.knocked.notify_waiters();
    }
}
