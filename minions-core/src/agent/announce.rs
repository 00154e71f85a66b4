//! Tells the host that the guest is up.

use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio_vsock::{VMADDR_CID_HOST, VsockAddr, VsockStream};

use super::READY_PORT;
use super::error::about;
use super::grow::grow;
use super::log::say;
use super::server::{Agent, Machine};
use crate::api::guest::{FrameReader, FrameWriter, FsTarget, Purpose, ReadyAck, ReadyReport, handshake};
use crate::error::{Error, ErrorKind, Result};

/// How long one try may take.
const TRY: Duration = Duration::from_secs(5);
/// The first pause between two tries, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// A clock that is off by less is left alone.
const SKEW_SECONDS: i64 = 2;

/// Where the host listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyDoor {
    /// The host's VSOCK port.
    Vsock,
    /// A UNIX socket.
    Unix(PathBuf),
}

/// What is reported.
pub type Announcement = ReadyReport;

/// Dials the host until it has acknowledged the report. On a machine of its own the agent then sets the clock and the
/// name that the host told.
pub async fn announce(agent: &Agent, door: &ReadyDoor, report: &Announcement) -> ReadyAck {
    let (mut pause, longest) = PAUSE;
    loop {
        let tried = tokio::time::timeout(TRY, attempt(agent, door, report)).await;
        let late = || Err(Error::new(ErrorKind::DeadlineExceeded, "the host did not answer in time"));
        match tried.unwrap_or_else(|_| late()) {
            Ok(ack) => {
                if agent.machine() == Machine::Guest {
                    take_over(&ack);
                    fill_disks().await;
                }
                return ack;
            }
            Err(error) => {
                if pause == longest {
                    say(format_args!("cannot report to the host: {}", error.chain()));
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

/// A disk may be larger than the file system that came with its image. After the report: nobody waits for it.
async fn fill_disks() {
    for target in [FsTarget::Root, FsTarget::Data] {
        match grow(target).await {
            // A VM without a data disk, or an image with another kind of file system.
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {}
            Err(error) => say(format_args!("{}", error.chain())),
        }
    }
}

async fn attempt(agent: &Agent, door: &ReadyDoor, report: &ReadyReport) -> Result<ReadyAck> {
    let refused = |error| about("the host does not listen for this guest", error);
    match door {
        ReadyDoor::Vsock => {
            let address = VsockAddr::new(VMADDR_CID_HOST, READY_PORT);
            say_ready(agent, VsockStream::connect(address).await.map_err(refused)?, report).await
        }
        ReadyDoor::Unix(path) => say_ready(agent, UnixStream::connect(path).await.map_err(refused)?, report).await,
    }
}

async fn say_ready<S: AsyncRead + AsyncWrite>(agent: &Agent, stream: S, report: &ReadyReport) -> Result<ReadyAck> {
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    handshake::agent(&mut reader, &mut writer, agent.identity(), Purpose::Ready).await?;
    writer.message(report).await?;
    reader.message().await
}

fn take_over(ack: &ReadyAck) {
    let now = clock_gettime(ClockId::Realtime);
    let wall = i64::try_from(ack.wall.0 / 1000).unwrap_or(i64::MAX);
    if ack.wall.0 != 0 && wall.abs_diff(now.tv_sec) > SKEW_SECONDS.unsigned_abs() {
        let nanos = i64::try_from(ack.wall.0 % 1000 * 1_000_000).unwrap_or(0);
        if let Err(error) = clock_settime(ClockId::Realtime, Timespec { tv_sec: wall, tv_nsec: nanos }) {
            say(format_args!("cannot set the clock: {error}"));
        }
    }
    if let Some(name) = &ack.hostname
        && let Err(error) = rustix::system::sethostname(name.as_bytes())
    {
        say(format_args!("cannot set the host name: {error}"));
    }
}
