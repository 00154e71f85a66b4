//! Calls that ask and answer. Each takes a stream on which the call was sent, and a deadline over all of the answer.

use tokio::time::Instant;

use super::{unexpected, within};
use crate::api::guest::{FileEntry, FileInfo, FrameReader, Health, NetworkStatus, Reply, Status, Untrusted};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::GuestIoBox;

/// Most names of one directory that are taken.
pub const MAX_LISTED: usize = 200_000;

/// The first answer counts; what comes after it is never read.
async fn answer(io: GuestIoBox, deadline: Instant) -> Result<Reply> {
    within(deadline, async { FrameReader::new(io).message::<Reply>().await?.ok() }).await
}

/// After `GuestCall::Health`.
pub async fn health(io: GuestIoBox, deadline: Instant) -> Result<Untrusted<Health>> {
    match answer(io, deadline).await? {
        Reply::Health(health) => Ok(Untrusted::new(health)),
        _ => Err(unexpected()),
    }
}

/// After `GuestCall::Status`.
pub async fn status(io: GuestIoBox, deadline: Instant) -> Result<Untrusted<Status>> {
    match answer(io, deadline).await? {
        Reply::Status(status) => Ok(Untrusted::new(*status)),
        _ => Err(unexpected()),
    }
}

/// After `GuestCall::Network`.
pub async fn network(io: GuestIoBox, deadline: Instant) -> Result<Untrusted<NetworkStatus>> {
    match answer(io, deadline).await? {
        Reply::Network(network) => Ok(Untrusted::new(network)),
        _ => Err(unexpected()),
    }
}

/// After `GuestCall::Stat`.
pub async fn stat(io: GuestIoBox, deadline: Instant) -> Result<Untrusted<FileInfo>> {
    match answer(io, deadline).await? {
        Reply::Info(info) => Ok(Untrusted::new(info)),
        _ => Err(unexpected()),
    }
}

/// After `GuestCall::GrowFilesystem`: the new size in bytes, as the guest says.
pub async fn grow(io: GuestIoBox, deadline: Instant) -> Result<Untrusted<u64>> {
    match answer(io, deadline).await? {
        Reply::Done { bytes, .. } => Ok(Untrusted::new(bytes)),
        _ => Err(unexpected()),
    }
}

/// After `GuestCall::Shutdown`: it is on its way, not done.
pub async fn shutdown(io: GuestIoBox, deadline: Instant) -> Result<()> {
    match answer(io, deadline).await? {
        Reply::Accepted => Ok(()),
        _ => Err(unexpected()),
    }
}

/// After `GuestCall::List`: at most [`MAX_LISTED`] names, else `Exhausted`.
pub async fn list(io: GuestIoBox, deadline: Instant) -> Result<Vec<Untrusted<FileEntry>>> {
    within(deadline, async {
        let mut reader = FrameReader::new(io);
        let mut listed = Vec::new();
        loop {
            let Reply::Entries { entries, last } = reader.message::<Reply>().await?.ok()? else {
                return Err(unexpected());
            };
            listed.extend(entries.into_iter().map(Untrusted::new));
            if listed.len() > MAX_LISTED {
                return Err(Error::new(ErrorKind::Exhausted, "the directory holds too many names to list"));
            }
            if last {
                return Ok(listed);
            }
        }
    })
    .await
}
