//! Folders as tar streams. What comes from a guest is hostile: nothing of it is written outside its folder.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::{Buf, Bytes};
use minions_core::error::{Error, ErrorKind, Result};
use tar::EntryType;
use tokio::sync::mpsc;

/// Pieces that may wait between a folder and a stream.
pub const QUEUE: usize = 4;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// Packs a folder, under a name or without one. Blocks.
pub fn pack(folder: &Path, name: &Path, to: mpsc::Sender<Bytes>) -> Result<()> {
    let failed =
        |error| Error::new(ErrorKind::Unavailable, format!("{} cannot be packed", folder.display())).with_source(error);
    let mut archive = tar::Builder::new(BufWriter::with_capacity(PIECE, Sink(to)));
    archive.follow_symlinks(false);
    archive.append_dir_all(name, folder).map_err(failed)?;
    archive.into_inner().and_then(|mut to| to.flush()).map_err(failed)
}

/// Unpacks a stream into a folder that exists. Returns how many entries it had. Blocks.
pub fn unpack(from: mpsc::Receiver<Bytes>, into: &Path) -> Result<u64> {
    let failed =
        |error| Error::new(ErrorKind::Unavailable, format!("cannot unpack into {}", into.display())).with_source(error);
    let mut archive = tar::Archive::new(Source { from, left: Bytes::new() });
    archive.set_overwrite(true);
    let mut count = 0;
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        // Devices, pipes and whatever else a guest may think of are not for this machine.
        let plain = matches!(
            entry.header().entry_type(),
            EntryType::Regular | EntryType::Continuous | EntryType::Directory | EntryType::Symlink | EntryType::Link
        );
        if !plain {
            continue;
        }
        if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(unsafe_entry());
        }
        // Refuses whatever would lead out of the folder through a link that came before it.
        if !entry.unpack_in(into).map_err(failed)? {
            return Err(unsafe_entry());
        }
        count += 1;
    }
    Ok(count)
}

fn unsafe_entry() -> Error {
    Error::new(ErrorKind::Denied, "the guest sent an entry that leads out of the folder; nothing after it was unpacked")
        .with_reason("unsafe_entry")
}

/// A folder beside a path, for what is not whole yet; gone when dropped.
pub struct Beside(PathBuf);

impl Beside {
    pub fn new(path: &Path, unique: &str) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = parent.join(format!(".minions-cp-{unique}"));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // What cannot be removed is left to be seen.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Sink(mpsc::Sender<Bytes>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the transfer ended"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Source {
    from: mpsc::Receiver<Bytes>,
    left: Bytes,
}

impl Read for Source {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.from.blocking_recv() {
                Some(bytes) => self.left = bytes,
                None => return Ok(0),
            }
        }
        let count = self.left.len().min(to.len());
        self.left.copy_to_slice(&mut to[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("minions-archive-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn stream(archive: Vec<u8>) -> mpsc::Receiver<Bytes> {
        let (to, from) = mpsc::channel(archive.len() / 100 + 1);
        archive.chunks(100).for_each(|piece| to.try_send(Bytes::copy_from_slice(piece)).unwrap());
        from
    }

    fn entry(archive: &mut tar::Builder<Vec<u8>>, kind: EntryType, path: &[u8], link: &str) {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(if kind == EntryType::Regular { 4 } else { 0 });
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        archive.append(&header, if kind == EntryType::Regular { &b"evil"[..] } else { &[] }).unwrap();
    }

    #[test]
    fn what_is_packed_is_what_is_unpacked() {
        let dir = scratch("round");
        let (from, into) = (dir.join("from"), dir.join("into"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir_all(&into).unwrap();
        fs::write(from.join("sub/a"), vec![7; 200_000]).unwrap();
        std::os::unix::fs::symlink("sub/a", from.join("link")).unwrap();
        let (to, stream) = mpsc::channel(QUEUE);
        let packer = std::thread::spawn(move || pack(&from, Path::new("name"), to));
        unpack(stream, &into).unwrap();
        packer.join().unwrap().unwrap();
        assert_eq!(fs::read(into.join("name/sub/a")).unwrap(), vec![7; 200_000]);
        assert_eq!(fs::read_link(into.join("name/link")).unwrap(), Path::new("sub/a"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn ctl_2_7_nothing_from_a_guest_is_written_outside_its_folder() {
        let dir = scratch("evil");
        let outside = dir.join("outside");
        fs::create_dir_all(&outside).unwrap();
        let away = outside.display().to_string();
        type Entry<'a> = (EntryType, &'a [u8], &'a str);
        let cases: [(&str, &[Entry<'_>]); 5] = [
            ("dots", &[(EntryType::Regular, b"../outside/x", "")]),
            ("deep dots", &[(EntryType::Regular, b"a/../../outside/x", "")]),
            ("absolute", &[(EntryType::Regular, b"/tmp/minions-evil/x", "")]),
            ("through a link", &[(EntryType::Symlink, b"l", &away), (EntryType::Regular, b"l/x", "")]),
            ("hard link", &[(EntryType::Link, b"h", "../outside/secret")]),
        ];
        fs::write(outside.join("secret"), "s").unwrap();
        for (name, entries) in cases {
            let into = dir.join(name.replace(' ', "-"));
            fs::create_dir_all(&into).unwrap();
            let mut archive = tar::Builder::new(Vec::new());
            entries.iter().for_each(|(kind, path, link)| entry(&mut archive, *kind, path, link));
            let result = unpack(stream(archive.into_inner().unwrap()), &into);
            assert!(result.is_err(), "{name}");
            assert!(!outside.join("x").exists() && !into.join("h").exists(), "{name}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn ctl_2_7_devices_from_a_guest_are_left_out() {
        let dir = scratch("device");
        let mut archive = tar::Builder::new(Vec::new());
        entry(&mut archive, EntryType::Char, b"null", "");
        entry(&mut archive, EntryType::Fifo, b"pipe", "");
        assert_eq!(unpack(stream(archive.into_inner().unwrap()), &dir).unwrap(), 0);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }
}
