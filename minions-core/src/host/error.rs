//! What the kernel's refusals mean.

use std::io;

use crate::error::ErrorKind;

/// The kind of error that a failed system call is for a caller who can do nothing about its details.
#[must_use]
pub fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ErrorKind::Exhausted,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::EINTR | libc::EBUSY | libc::ETXTBSY) => {
            ErrorKind::Unavailable
        }
        Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOEXEC) => ErrorKind::Denied,
        _ => match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::TimedOut => ErrorKind::DeadlineExceeded,
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_exhausted_and_too_many_files_can_be_tried_again() {
        assert_eq!(kind_of(&io::Error::from_raw_os_error(libc::ENOSPC)), ErrorKind::Exhausted);
        assert_eq!(kind_of(&io::Error::from_raw_os_error(libc::EMFILE)), ErrorKind::Unavailable);
        assert_eq!(kind_of(&io::Error::from_raw_os_error(libc::EIO)), ErrorKind::Internal);
    }
}
