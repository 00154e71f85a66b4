//! A guest's serial log on the host: a bounded file while its monitor is there, and its end in memory for a while after.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::host::files;
use crate::types::VmId;

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

fn older(path: &Path) -> PathBuf {
    path.with_extension("1")
}

/// Writes more behind what was kept.
pub(super) fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = files::open_write(path, 0o600)?;
    if file.seek(SeekFrom::End(0))? > KEPT {
        std::fs::rename(path, older(path))?;
        file = files::open_write(path, 0o600)?;
    }
    file.write_all(bytes)
}

/// At most `max` bytes from the end of what was kept.
pub(super) fn tail(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for path in [older(path), path.to_owned()] {
        match files::open_read(&path) {
            Ok(file) => {
                file.take(2 * KEPT).read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
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
