//! Connects to UNIX sockets in folders that a stranger may write: what lies there is looked at first.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use tokio::net::UnixStream;

/// Connects to the socket at `path`. A symbolic link is an error, wherever it leads, and so is what is no socket.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found: OwnedFd = openat(CWD, path, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "what lies there is not a socket"));
    }
    // By what was looked at, not by its name, which may lead elsewhere by now.
    UnixStream::connect(format!("/proc/self/fd/{}", found.as_raw_fd())).await
}

/// The same, where nobody but the process `pid` may listen.
pub async fn connect_to(path: &Path, pid: u32) -> io::Result<UnixStream> {
    let stream = connect(path).await?;
    answers(&stream, pid)?;
    Ok(stream)
}

/// Whether it is this process that listens at the other end.
pub fn answers(stream: &UnixStream, pid: u32) -> io::Result<()> {
    if stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(pid) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody else listens there"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_lies_there_itself_is_reached_and_only_of_the_process_that_was_meant() {
        let dir = std::env::temp_dir().join(format!("minions-socket-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (real, link, file) = (dir.join("real"), dir.join("link"), dir.join("file"));
        let _listener = tokio::net::UnixListener::bind(&real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::write(&file, b"").unwrap();
        connect(&real).await.unwrap();
        connect_to(&real, std::process::id()).await.unwrap();
        let stranger = connect_to(&real, 1).await.unwrap_err();
        assert_eq!(stranger.kind(), io::ErrorKind::PermissionDenied);
        for wrong in [&link, &file] {
            assert_eq!(connect(wrong).await.unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{wrong:?}");
        }
        assert_eq!(connect(&dir.join("nothing")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
