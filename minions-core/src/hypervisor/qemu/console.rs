//! The guest's serial log: a ring in the monitor's memory, drained into a bounded file when somebody asks. While somebody is
//! attached the serial line ends in a socket instead, and whoever keeps that one writes the file.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

use serde_json::{Value, json};

use super::error::QemuError;
use super::wire::{Qmp, base64};
use crate::host::files;
use crate::types::VmId;

/// Bytes of the ring: a guest that talks overwrites its own past, and no disk is filled while nobody is there to read.
pub(super) const RING: u64 = 1 << 20;

/// Bytes of each of the two files that keep what was read.
const KEPT: u64 = 1 << 20;

/// Bytes that are kept of what a guest said before its end, and of how many guests.
pub(super) const LAST_WORDS: usize = 64 << 10;
const REMEMBERED: usize = 64;

/// What guests said before they ended. A log goes with its monitor, and whoever asks why a guest ended comes later.
/// In memory, a few MiB at most: the last ones that ended, until the daemon does.
#[derive(Debug, Default)]
pub(super) struct LastWords(VecDeque<(VmId, Vec<u8>)>);

impl LastWords {
    /// Instead of what the same VM's guest before it said.
    pub fn keep(&mut self, id: VmId, said: Vec<u8>) {
        if said.is_empty() {
            return;
        }
        self.0.retain(|(known, _)| *known != id);
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front((id, said));
    }

    pub fn of(&self, id: VmId) -> Vec<u8> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, said)| said.clone()).unwrap_or_default()
    }
}

/// The monitor's name for the guest's serial line.
const SERIAL: &str = "serial0";

/// How much one read of the ring brings.
const PIECE: usize = 64 << 10;

/// Moves what the ring holds to the file.
pub(super) async fn drain(qmp: &mut Qmp, path: &Path) -> Result<(), QemuError> {
    let mut most = RING / PIECE as u64 + 1;
    while most > 0 {
        most -= 1;
        let bytes = read(&qmp.ask("ringbuf-read", one_read()).await?)?;
        append(path, &bytes).map_err(QemuError::io("keep the serial log"))?;
        if bytes.len() < PIECE {
            break;
        }
    }
    Ok(())
}

fn one_read() -> Value {
    json!({ "device": SERIAL, "size": PIECE, "format": "base64" })
}

fn read(answer: &Value) -> Result<Vec<u8>, QemuError> {
    let bytes = answer.as_str().and_then(base64);
    bytes.ok_or_else(|| QemuError::Protocol("a log that is not base 64".to_owned()))
}

/// Whether the serial line ends in the ring.
pub(super) async fn is_ring(qmp: &mut Qmp) -> Result<bool, QemuError> {
    let all = qmp.ask("query-chardev", Value::Null).await?;
    let serial = all.as_array().into_iter().flatten().find(|one| one["label"] == SERIAL);
    Ok(serial.is_some_and(|serial| serial["filename"] == "ringbuf"))
}

/// Lets the serial line end in the ring from now on.
pub(super) async fn to_ring(qmp: &mut Qmp) -> Result<(), QemuError> {
    let backend = json!({ "type": "ringbuf", "data": { "size": RING } });
    qmp.ask("chardev-change", json!({ "id": SERIAL, "backend": backend })).await.map(drop)
}

/// Lets the serial line end in a socket from now on. What was in the ring is in the file then, but for what the guest
/// printed between two commands that the monitor has in its hands at once.
pub(super) async fn to_socket(qmp: &mut Qmp, socket: BorrowedFd<'_>, path: &Path) -> Result<(), QemuError> {
    const NAME: &str = "console";
    drain(qmp, path).await?;
    qmp.give(NAME, socket).await?;
    drain(qmp, path).await?;
    let address = json!({ "type": "fd", "data": { "str": NAME } });
    let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
    let change = json!({ "id": SERIAL, "backend": backend });
    let [last, _] = qmp.ask_both([("ringbuf-read", one_read()), ("chardev-change", change)]).await?;
    append(path, &read(&last)?).map_err(QemuError::io("keep the serial log"))
}

fn older(path: &Path) -> std::path::PathBuf {
    path.with_extension("1")
}

pub(super) fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = files::open_write(path, 0o600)?;
    if file.seek(SeekFrom::End(0))? > KEPT {
        std::fs::rename(path, older(path))?;
        file = files::open_write(path, 0o600)?;
    }
    file.write_all(bytes)
}

/// At most `max` bytes from the end of what was kept.
pub(super) fn tail(path: &Path, max: usize) -> Result<Vec<u8>, QemuError> {
    let mut bytes = Vec::new();
    for path in [older(path), path.to_owned()] {
        match files::open_read(&path) {
            Ok(file) => {
                file.take(2 * KEPT).read_to_end(&mut bytes).map_err(QemuError::io("read the serial log"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(QemuError::Io { what: "read the serial log", source: error }),
        }
    }
    Ok(bytes.split_off(bytes.len().saturating_sub(max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_11_the_last_words_of_the_last_guests_are_kept_and_no_more() {
        let mut words = LastWords::default();
        for number in 0..200 {
            words.keep(VmId::from_bits(number), vec![1]);
            words.keep(VmId::from_bits(1), b"again".to_vec());
            words.keep(VmId::from_bits(1), Vec::new());
        }
        assert_eq!(words.0.len(), REMEMBERED);
        assert_eq!(words.of(VmId::from_bits(1)), b"again");
        assert_eq!(words.of(VmId::from_bits(199)), [1]);
        assert!(words.of(VmId::from_bits(2)).is_empty());
    }

    #[test]
    fn load_11_ten_gibibytes_of_talk_leave_two_mebibytes_and_the_end_of_it() {
        let dir = std::env::temp_dir().join(format!("minions-console-{}", std::process::id()));
        files::make_dir(&dir).unwrap();
        let path = dir.join("console");
        for round in 0..80u8 {
            append(&path, &vec![round; 64 << 10]).unwrap();
        }
        append(&path, b"the end").unwrap();
        let size: u64 = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 2 * (KEPT + (64 << 10)), "{size}");
        assert_eq!(tail(&path, 7).unwrap(), b"the end");
        assert_eq!(tail(&path, 9).unwrap(), b"\x4f\x4fthe end");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
