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

/// What a copy has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files; folders and symbolic links are none.
    pub files: u64,
    /// What is in them.
    pub bytes: u64,
    /// Sockets, pipes and devices, which have no content to send.
    pub left_out: u64,
}

/// Packs a folder, under a name or without one. Blocks.
pub fn pack(folder: &Path, name: &Path, to: mpsc::Sender<Bytes>) -> Result<Tally> {
    let failed = |path: &Path, error| {
        Error::new(ErrorKind::Unavailable, format!("{} cannot be packed", path.display())).with_source(error)
    };
    let mut archive = tar::Builder::new(BufWriter::with_capacity(PIECE, Sink(to)));
    let mut tally = Tally::default();
    // A stack, not a recursion: a folder may be deep.
    let mut todo = vec![(folder.to_owned(), name.to_owned())];
    while let Some((path, name)) = todo.pop() {
        // The folder itself may be reached by a link, what is in it is sent as it is.
        let meta = if path == folder { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let meta = meta.map_err(|error| failed(&path, error))?;
        if !append(&mut archive, &path, &name, &meta).map_err(|error| failed(&path, error))? {
            tally.left_out += 1;
        } else if meta.is_file() {
            tally.files += 1;
            tally.bytes = tally.bytes.saturating_add(meta.len());
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path).map_err(|error| failed(&path, error))? {
                let entry = entry.map_err(|error| failed(&path, error))?;
                todo.push((entry.path(), name.join(entry.file_name())));
            }
        }
    }
    archive.into_inner().and_then(|mut to| to.flush()).map_err(|error| failed(folder, error))?;
    Ok(tally)
}

/// Whether it is of a kind that can be sent.
fn append<W: Write>(archive: &mut tar::Builder<W>, path: &Path, name: &Path, meta: &fs::Metadata) -> io::Result<bool> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(meta);
    header.set_size(0);
    if meta.is_file() {
        header.set_size(meta.len());
        let file = Exactly { file: fs::File::open(path)?, left: meta.len() };
        archive.append_data(&mut header, name, file)?;
    } else if meta.is_dir() {
        archive.append_data(&mut header, name, io::empty())?;
    } else if meta.is_symlink() {
        archive.append_link(&mut header, name, fs::read_link(path)?)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// A file that has exactly the size that was announced, even if it is written meanwhile: cut, or filled with zeros.
struct Exactly {
    file: fs::File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        let count = match self.file.read(&mut to[..most])? {
            0 => {
                to[..most].fill(0);
                most
            }
            count => count,
        };
        self.left -= u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}

/// Unpacks a stream into a folder that exists. Blocks.
pub fn unpack(from: mpsc::Receiver<Bytes>, into: &Path) -> Result<Tally> {
    let failed =
        |error| Error::new(ErrorKind::Unavailable, format!("cannot unpack into {}", into.display())).with_source(error);
    let mut archive = tar::Archive::new(Bounded::new(Source { from, left: Bytes::new() }));
    archive.set_overwrite(true);
    let mut tally = Tally::default();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        // Devices, pipes and whatever else a guest may think of are not for this machine.
        let file = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::Link => true,
            EntryType::Directory | EntryType::Symlink => false,
            _ => {
                tally.left_out += 1;
                continue;
            }
        };
        if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(unsafe_entry());
        }
        // Refuses whatever would lead out of the folder through a link that came before it.
        if !entry.unpack_in(into).map_err(failed)? {
            return Err(unsafe_entry());
        }
        if file {
            tally.files += 1;
            tally.bytes = tally.bytes.saturating_add(entry.size());
        }
    }
    Ok(tally)
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

/// Bytes of a tar stream's blocks.
const BLOCK: usize = 512;

/// Most bytes of a name that stands in an entry of its own: it is read into memory whole.
const MAX_NAME: u64 = 64 << 10;

/// A tar stream whose long names are not endless. Whoever unpacks it reads those into memory, as large as the guest says
/// that they are.
struct Bounded<R> {
    from: R,
    /// The header of the next entry, as far as it was read.
    header: Vec<u8>,
    /// What is left of the present entry, with its padding.
    content: u64,
}

impl<R> Bounded<R> {
    fn new(from: R) -> Self {
        Self { from, header: Vec::with_capacity(BLOCK), content: 0 }
    }

    /// Follows the stream through bytes that were read.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.content > 0 {
                let skip = usize::try_from(self.content).unwrap_or(usize::MAX).min(bytes.len());
                self.content -= u64::try_from(skip).unwrap_or(0);
                bytes = &bytes[skip..];
                continue;
            }
            let (head, rest) = bytes.split_at((BLOCK - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(head);
            bytes = rest;
            if self.header.len() == BLOCK {
                self.content = self.check()?;
                self.header.clear();
            }
        }
        Ok(())
    }

    /// How much belongs to the entry whose header was read.
    fn check(&self) -> io::Result<u64> {
        let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&self.header);
        if self.header.iter().all(|byte| *byte == 0) {
            return Ok(0);
        }
        let size = header.entry_size()?;
        match header.entry_type() {
            // What follows these cannot be told from their own size, and no agent of ours sends one.
            EntryType::GNUSparse | EntryType::XHeader | EntryType::XGlobalHeader => {
                refuse("the guest sent an entry of a kind that no agent sends")
            }
            EntryType::GNULongName | EntryType::GNULongLink if size > MAX_NAME => {
                refuse("the guest sent a name larger than any")
            }
            _ => match size.checked_next_multiple_of(BLOCK as u64) {
                Some(content) => Ok(content),
                None => refuse("the guest sent an entry larger than can be counted"),
            },
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.follow(&to[..count])?;
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
    fn ctl_2_7_a_name_without_end_from_a_guest_is_refused_before_it_is_in_memory() {
        let dir = scratch("name");
        for (kind, byte) in [(EntryType::GNULongName, b'n'), (EntryType::GNULongLink, b'l')] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(10 << 30);
            header.set_cksum();
            // Far more than is taken: whoever reads on would never end.
            let (to, from) = mpsc::channel(1);
            let head = Bytes::copy_from_slice(header.as_bytes());
            let sender = std::thread::spawn(move || {
                let endless = Bytes::from(vec![byte; PIECE]);
                let mut sent = 0u64;
                while to.blocking_send(if sent == 0 { head.clone() } else { endless.clone() }).is_ok() {
                    sent += 1;
                    assert!(sent < 1_000, "it was read on and on");
                }
            });
            let error = unpack(from, &dir).expect_err("refused");
            sender.join().unwrap();
            assert!(error.chain().contains("larger than any"), "{}", error.chain());
        }
        // These could say a size that only one of us believes, and hide such a name behind it.
        for kind in [EntryType::GNUSparse, EntryType::XHeader, EntryType::XGlobalHeader] {
            let mut archive = tar::Builder::new(Vec::new());
            entry(&mut archive, kind, b"s", "");
            let error = unpack(stream(archive.into_inner().unwrap()), &dir).expect_err("refused");
            assert!(error.chain().contains("no agent sends"), "{}", error.chain());
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn sparse_files_long_names_and_links_are_sent_and_pipes_are_left_out() {
        let dir = scratch("kinds");
        let (from, into) = (dir.join("from"), dir.join("into"));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&into).unwrap();
        let hole = fs::File::create(from.join("hole")).unwrap();
        hole.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&hole, b"end", (3 << 20) - 3).unwrap();
        let long = "n".repeat(200);
        fs::write(from.join(&long), "long").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let (to, stream) = mpsc::channel(QUEUE);
        let packer = std::thread::spawn({
            let from = from.clone();
            move || pack(&from, Path::new("."), to)
        });
        unpack(stream, &into).unwrap();
        let packed = packer.join().unwrap().unwrap();
        assert_eq!(packed, Tally { files: 2, bytes: (3 << 20) + 4, left_out: 1 }, "one socket was left out");
        assert_eq!(fs::read(into.join("hole")).unwrap(), fs::read(from.join("hole")).unwrap());
        assert_eq!(fs::read_to_string(into.join(long)).unwrap(), "long");
        assert!(!into.join("socket").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn ctl_2_7_devices_from_a_guest_are_left_out() {
        let dir = scratch("device");
        let mut archive = tar::Builder::new(Vec::new());
        entry(&mut archive, EntryType::Char, b"null", "");
        entry(&mut archive, EntryType::Fifo, b"pipe", "");
        assert_eq!(unpack(stream(archive.into_inner().unwrap()), &dir).unwrap().files, 0);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }
}
