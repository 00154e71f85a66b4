//! Locks that live as long as an open file does, and the question who has a file open.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `F_SETSIG` of Linux, which the binding lacks.
const F_SETSIG: libc::c_int = 10;

/// What `fcntl` calls a lock over the whole file.
fn whole(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: libc::c_short::try_from(kind).unwrap_or(0),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or(0),
        l_start: 0,
        l_len: 0,
        // The kernel wants 0 here for locks of open file descriptions.
        l_pid: 0,
    }
}

#[expect(unsafe_code, reason = "no safe binding of open-file-description locks in the tree")]
fn fcntl_lock(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call, and `lock` is a valid `flock` that the kernel
    // reads and, for F_OFD_GETLK, writes.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "no safe binding of leases in the tree")]
fn fcntl_int(file: &File, command: libc::c_int, value: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the descriptor is open for the duration of the call; these commands take an int and no pointer.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), command, value) };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(status) }
}

/// Takes the lock of the whole file for this open file, without waiting. It is held until every descriptor that was
/// copied from this one is closed, in this process or in a child that inherited one.
pub fn try_lock(file: &File) -> io::Result<bool> {
    let mut lock = whole(libc::F_WRLCK);
    match fcntl_lock(file, libc::F_OFD_SETLK, &mut lock) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock back at once, even if a copy of the descriptor lives on in a child that is just being made.
pub fn unlock(file: &File) -> io::Result<()> {
    fcntl_lock(file, libc::F_OFD_SETLK, &mut whole(libc::F_UNLCK))
}

/// Whether some other open file holds any lock on it. Takes nothing, so that asking never makes another one fail.
pub fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = whole(libc::F_WRLCK);
    fcntl_lock(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Whether anyone else has the file open, as far as the filesystem can tell: a lease for writing is granted only to the
/// one opener of a file. `None` where the filesystem has no leases.
pub fn is_open_elsewhere(file: &File) -> io::Result<Option<bool>> {
    // Whoever opens the file meanwhile is made to wait for the lease's end, and we are told by a signal. SIGURG is one
    // that is ignored by default, where SIGIO would end the process.
    fcntl_int(file, F_SETSIG, libc::SIGURG)?;
    match fcntl_int(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(_) => {
            fcntl_int(file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(Some(false))
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(Some(true)),
            Some(libc::EINVAL | libc::ENOLCK | libc::EACCES | libc::EPERM | libc::EOPNOTSUPP) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("minions-lock-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_lock_is_seen_by_others_without_being_taken_and_ends_with_its_file() {
        let path = path("ofd");
        let holder = crate::host::files::open_write(&path, 0o600).unwrap();
        let other = crate::host::files::open_write(&path, 0o600).unwrap();
        assert!(!is_locked(&other).unwrap());
        assert!(try_lock(&holder).unwrap());
        assert!(is_locked(&other).unwrap());
        assert!(!try_lock(&other).unwrap());
        drop(holder);
        assert!(try_lock(&other).unwrap());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_open_file_is_seen_even_where_nobody_locks_it() {
        let path = path("lease");
        let mine = crate::host::files::open_write(&path, 0o600).unwrap();
        let theirs = std::fs::File::open(&path).unwrap();
        if let Some(seen) = is_open_elsewhere(&mine).unwrap() {
            assert!(seen);
            drop(theirs);
            assert_eq!(is_open_elsewhere(&mine).unwrap(), Some(false));
        }
        std::fs::remove_file(path).unwrap();
    }
}
