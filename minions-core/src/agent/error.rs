//! What the operating system said, in the words of the protocol.

use std::io::{self, ErrorKind as Io};

use crate::error::{Error, ErrorKind};

/// An error about a thing in the guest, such as a path.
pub(super) fn about(thing: impl std::fmt::Display, error: io::Error) -> Error {
    let (kind, reason) = match error.kind() {
        Io::NotFound => (ErrorKind::NotFound, None),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (ErrorKind::Denied, None),
        Io::AlreadyExists => (ErrorKind::AlreadyExists, None),
        Io::StorageFull | Io::QuotaExceeded => (ErrorKind::Exhausted, Some("no_space")),
        Io::NotADirectory => (ErrorKind::InvalidArgument, Some("not_a_directory")),
        Io::IsADirectory => (ErrorKind::InvalidArgument, Some("is_a_directory")),
        Io::InvalidInput | Io::InvalidFilename => (ErrorKind::InvalidArgument, None),
        Io::ConnectionRefused | Io::TimedOut => (ErrorKind::Unavailable, None),
        Io::Unsupported => (ErrorKind::Unsupported, None),
        _ => (ErrorKind::Internal, None),
    };
    let result = Error::new(kind, thing.to_string()).with_source(error);
    match reason {
        Some(reason) => result.with_reason(reason),
        None => result,
    }
}

/// Runs work that may block on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> crate::Result<T> + Send + 'static,
) -> crate::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::internal("the agent's work broke off").with_source(error)))
}
