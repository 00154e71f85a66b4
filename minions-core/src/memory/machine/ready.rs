//! The guest says that it is ready, until someone hears it.

use std::time::Duration;

use tokio::io::DuplexStream;

use super::{Machine, PIPE};
use crate::api::guest::handshake;
use crate::api::guest::{FrameReader, FrameWriter, Purpose, ReadyAck, ReadyReport};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{KERNEL_RELEASE, micros};
use crate::types::BootMark;

/// How long one hello may take.
const HELLO: Duration = Duration::from_secs(10);
/// The first and the longest pause after a connection that came to nothing.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) async fn announce(machine: Machine, boot: Duration) {
    tokio::time::sleep(boot).await;
    if machine.print(b"minions: press Enter for a shell\r\n").is_err() {
        return;
    }
    let mut pause = PAUSE.0;
    loop {
        // Listens for a new door before it looks for one.
        let Ok(changed) = machine.with(|model| Ok(model.doors_changed.clone())) else { return };
        let mut changed = std::pin::pin!(changed.notified());
        changed.as_mut().enable();
        match machine.dial_host() {
            Err(_) => return,
            Ok(None) => changed.await,
            Ok(Some(stream)) => {
                let said = tokio::time::timeout(HELLO, say(&machine, stream, boot)).await;
                if matches!(said, Ok(Ok(()))) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

async fn say(machine: &Machine, stream: DuplexStream, boot: Duration) -> Result<()> {
    let identity = machine.identity()?;
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    handshake::agent(&mut reader, &mut writer, &identity, Purpose::Ready).await?;
    let mark = |name: &'static str, share: u32| BootMark { name: name.into(), micros: micros(boot * share / 4) };
    let report = ReadyReport {
        marks: vec![mark("kernel", 1), mark("root", 2), mark("agent", 4)],
        kernel: KERNEL_RELEASE.to_owned(),
        root: "/dev/vda".to_owned(),
    };
    writer.message(&report).await?;
    let ack: ReadyAck = reader.message().await?;
    if let Some(hostname) = ack.hostname {
        machine.monitor(|monitor| monitor.hostname = hostname)?;
    }
    machine.print(b"minions: ready\r\n")
}

impl Machine {
    /// A connection to the host's ready port; `None` where nobody listens.
    fn dial_host(&self) -> Result<Option<DuplexStream>> {
        self.with(|model| {
            let max = model.settings.limits.max_unaccepted;
            let Some(door) = model.doors.get_mut(&self.id).filter(|door| door.listening) else { return Ok(None) };
            let cid = model.monitors.get(&self.id).map(|monitor| monitor.config.cid);
            if cid != Some(door.cid) {
                // Another context id: what comes from it does not reach this door.
                return Ok(None);
            }
            if max == 0 {
                return Err(Error::new(ErrorKind::Exhausted, "no connection is ever kept"));
            }
            let (ours, theirs) = tokio::io::duplex(PIPE);
            while door.waiting.len() >= max {
                door.waiting.pop_front();
            }
            door.waiting.push_back(theirs);
            door.arrived.notify_one();
            Ok(Some(ours))
        })
    }
}
