//! The guest's serial log: a ring in the monitor's memory, drained into a bounded file when somebody asks. While somebody is
//! attached the serial line ends in a socket instead, and whoever keeps that one writes the file.

use std::os::fd::BorrowedFd;
use std::path::Path;

use serde_json::{Value, json};

use super::wire::{Qmp, base64};
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::log;

/// Bytes of the ring: a guest that talks overwrites its own past, and no disk is filled while nobody is there to read.
pub(super) const RING: u64 = 1 << 20;

/// The monitor's name for the guest's serial line.
const SERIAL: &str = "serial0";

/// How much one read of the ring brings.
const PIECE: usize = 64 << 10;

/// Moves what the ring holds to the file.
pub(super) async fn drain(qmp: &mut Qmp, path: &Path) -> Result<(), MonitorError> {
    let mut most = RING / PIECE as u64 + 1;
    while most > 0 {
        most -= 1;
        let bytes = read(&qmp.ask("ringbuf-read", one_read()).await?)?;
        log::append(path, &bytes).map_err(MonitorError::io("keep the serial log"))?;
        if bytes.len() < PIECE {
            break;
        }
    }
    Ok(())
}

fn one_read() -> Value {
    json!({ "device": SERIAL, "size": PIECE, "format": "base64" })
}

fn read(answer: &Value) -> Result<Vec<u8>, MonitorError> {
    let bytes = answer.as_str().and_then(base64);
    bytes.ok_or_else(|| MonitorError::Protocol("a log that is not base 64".to_owned()))
}

/// Whether the serial line ends in the ring.
pub(super) async fn is_ring(qmp: &mut Qmp) -> Result<bool, MonitorError> {
    let all = qmp.ask("query-chardev", Value::Null).await?;
    let serial = all.as_array().into_iter().flatten().find(|one| one["label"] == SERIAL);
    Ok(serial.is_some_and(|serial| serial["filename"] == "ringbuf"))
}

/// Lets the serial line end in the ring from now on.
pub(super) async fn to_ring(qmp: &mut Qmp) -> Result<(), MonitorError> {
    let backend = json!({ "type": "ringbuf", "data": { "size": RING } });
    qmp.ask("chardev-change", json!({ "id": SERIAL, "backend": backend })).await.map(drop)
}

/// Lets the serial line end in a socket from now on. What was in the ring is in the file then, but for what the guest
/// printed between two commands that the monitor has in its hands at once.
pub(super) async fn to_socket(qmp: &mut Qmp, socket: BorrowedFd<'_>, path: &Path) -> Result<(), MonitorError> {
    const NAME: &str = "console";
    drain(qmp, path).await?;
    qmp.give(NAME, socket).await?;
    drain(qmp, path).await?;
    let address = json!({ "type": "fd", "data": { "str": NAME } });
    let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
    let change = json!({ "id": SERIAL, "backend": backend });
    let [last, _] = qmp.ask_both([("ringbuf-read", one_read()), ("chardev-change", change)]).await?;
    log::append(path, &read(&last)?).map_err(MonitorError::io("keep the serial log"))
}
