//! Waits until a program listens on a UNIX socket, without asking again and again whether its file is there.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use super::process::watch;
use super::socket;

/// What is seen of a folder. The kernel takes some ten milliseconds to close it: on a thread for that, so that nobody waits.
struct Events(Option<AsyncFd<OwnedFd>>);

impl Drop for Events {
    fn drop(&mut self) {
        let events = self.0.take().map(AsyncFd::into_inner);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(events));
        }
    }
}

/// Connects as soon as somebody listens at `path`. Waits as long as it takes: the caller bounds it, and gives up when
/// the program has ended. The folder must be there; a stale socket must be removed before the program is started.
pub async fn connect_when_there(path: &Path) -> io::Result<UnixStream> {
    // It may be there already: most are asked for more than once.
    if let Ok(stream) = socket::connect(path).await {
        return Ok(stream);
    }
    let dir = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    // Watch first, look afterwards: what appears in between is seen by the one or the other.
    add_watch(&events, dir, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    let events = Events(Some(watch(events)?));
    let Some(seen) = &events.0 else { return Err(io::ErrorKind::BrokenPipe.into()) };
    loop {
        match socket::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut ready = seen.readable().await?;
                let mut buffer = [0; 4096];
                match rustix::io::read(seen.get_ref(), &mut buffer) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::WOULDBLOCK) => ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
            // Between its bind and its listen, two system calls apart, which no event tells from one another.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_comes_later_is_reached_once_it_is_there() {
        let dir = std::env::temp_dir().join(format!("minions-inotify-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        let waiting = tokio::spawn({
            let path = path.clone();
            async move { connect_when_there(&path).await }
        });
        tokio::task::yield_now().await;
        std::fs::write(dir.join("other"), b"").unwrap();
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (_, reached) = tokio::join!(listener.accept(), waiting);
        reached.unwrap().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
