//! Tar streams in and out of a simulated guest: ustar, with long names as GNU and PAX spell them.

use super::Machine;
use super::files::{received, send};
use super::fs::absolute;
use super::session::{Reader, Writer};
use crate::api::guest::{CHANNEL_MAIN, FileKind, Frame, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::blob::Blob;
use crate::memory::tree::{Entry, Node};
use crate::types::UnixMillis;

const BLOCK: usize = 512;
/// Longest name, and longest header that is read into memory.
const MAX_NAME: u64 = 16 << 10;

pub(super) async fn pack(machine: &Machine, path: &str, writer: &mut Writer) -> Result<()> {
    absolute(path)?;
    let path = super::fs::normal("", path);
    let (info, mut entries) = machine.disks(|disks| {
        let info = disks.info(super::shell::show(&path), true)?;
        let below = if info.kind == FileKind::Directory { disks.walk(&path)? } else { Vec::new() };
        Ok((info, below))
    })?;
    let top = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(".").to_owned();
    let first = Entry {
        node: match info.kind {
            FileKind::Directory => Node::Dir,
            _ => Node::File(machine.disks(|disks| disks.content(&path))?),
        },
        mode: info.mode,
        uid: info.uid,
        gid: info.gid,
        mtime: info.modified,
    };
    writer.message(&Reply::Info(info)).await?;
    for (_, name) in entries.iter_mut().map(|(name, entry)| (entry, name)) {
        *name = format!("{top}/{name}");
    }
    entries.insert(0, (top, first));
    for (name, entry) in &entries {
        writer.send(&data(header(name, entry))).await?;
        if let Node::File(blob) = &entry.node {
            send(blob, 0, u64::MAX, writer).await?;
            let padding = padding(blob.len());
            if padding > 0 {
                writer.send(&data(vec![0; padding])).await?;
            }
        }
    }
    writer.send(&data(vec![0; 2 * BLOCK])).await?;
    writer.send(&Frame::End { channel: CHANNEL_MAIN }).await
}

fn data(bytes: Vec<u8>) -> Frame {
    Frame::Data { channel: CHANNEL_MAIN, bytes: bytes.into() }
}

fn padding(len: u64) -> usize {
    (BLOCK - (len % BLOCK as u64) as usize) % BLOCK
}

/// The header of an entry, after one that carries its name where that is long.
fn header(name: &str, entry: &Entry) -> Vec<u8> {
    let (kind, size, target) = match &entry.node {
        Node::Dir => (b'5', 0, ""),
        Node::File(blob) => (b'0', blob.len(), ""),
        Node::Link(target) => (b'2', 0, target.as_str()),
    };
    let name = if kind == b'5' { format!("{name}/") } else { name.to_owned() };
    let mut out = Vec::new();
    for (long, letter) in [(name.as_str(), b'L'), (target, b'K')] {
        if long.len() > 100 {
            let len = long.len() as u64 + 1;
            out.extend(block("././@LongLink", "", letter, len, 0, (0, 0), 0));
            out.extend_from_slice(long.as_bytes());
            out.resize(out.len() + 1 + padding(len), 0);
        }
    }
    out.extend(block(&name, target, kind, size, entry.mode, (entry.uid, entry.gid), entry.mtime.0 / 1000));
    out
}

fn block(name: &str, target: &str, kind: u8, size: u64, mode: u32, owner: (u32, u32), seconds: u64) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    let mut text = |at: usize, most: usize, text: &str| {
        let bytes = &text.as_bytes()[..text.len().min(most)];
        block[at..at + bytes.len()].copy_from_slice(bytes);
    };
    text(0, 100, name);
    text(100, 8, &format!("{mode:07o}"));
    text(108, 8, &format!("{:07o}", owner.0));
    text(116, 8, &format!("{:07o}", owner.1));
    text(124, 12, &format!("{size:011o}"));
    text(136, 12, &format!("{seconds:011o}"));
    text(148, 8, "        ");
    text(157, 100, target);
    text(257, 8, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn broken(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// A tar stream as it comes.
struct Source<'a> {
    reader: &'a mut Reader,
    left: bytes::Bytes,
    taken: u64,
}

impl Source<'_> {
    /// At most `max` bytes; `None` at the end.
    async fn some(&mut self, max: u64) -> Result<Option<bytes::Bytes>> {
        while self.left.is_empty() {
            match received(self.reader).await? {
                Some(bytes) => {
                    self.taken += bytes.len() as u64;
                    self.left = bytes;
                }
                None => return Ok(None),
            }
        }
        let take = usize::try_from(max).unwrap_or(usize::MAX).min(self.left.len());
        Ok(Some(self.left.split_to(take)))
    }

    async fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut at = 0;
        while at < BLOCK {
            match self.some((BLOCK - at) as u64).await? {
                Some(bytes) => {
                    block[at..at + bytes.len()].copy_from_slice(&bytes);
                    at += bytes.len();
                }
                None if at == 0 => return Ok(None),
                None => return Err(broken("the tar stream ends inside a block")),
            }
        }
        Ok(Some(block))
    }

    async fn content(&mut self, size: u64) -> Result<Blob> {
        let mut blob = Blob::default();
        let mut left = size;
        while left > 0 {
            let bytes = self.some(left).await?.ok_or_else(|| broken("the tar stream ends inside a file"))?;
            left -= bytes.len() as u64;
            blob.append(&bytes);
        }
        let mut skip = padding(size) as u64;
        while skip > 0 {
            let bytes = self.some(skip).await?.ok_or_else(|| broken("the tar stream ends inside a block"))?;
            skip -= bytes.len() as u64;
        }
        Ok(blob)
    }

    async fn text(&mut self, size: u64) -> Result<String> {
        if size > MAX_NAME {
            return Err(broken("a name in the tar stream is too long"));
        }
        let blob = self.content(size).await?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < blob.len() {
            bytes.extend(blob.read(bytes.len() as u64, BLOCK));
        }
        String::from_utf8(bytes).map_err(|_| broken("a name in the tar stream is not UTF-8"))
    }
}

fn field(block: &[u8; BLOCK], at: usize, len: usize) -> Result<String> {
    let bytes = &block[at..at + len];
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(len);
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| broken("a name in the tar stream is not UTF-8"))
}

fn number(block: &[u8; BLOCK], at: usize, len: usize) -> Result<u64> {
    let bytes = &block[at..at + len];
    if bytes[0] & 0x80 != 0 {
        let rest = bytes[1..].iter().try_fold(u64::from(bytes[0] & 0x7f), |value, byte| {
            value.checked_mul(256).map(|value| value + u64::from(*byte))
        });
        return rest.ok_or_else(|| broken("a number in the tar stream is too large"));
    }
    let text = field(block, at, len)?;
    let digits = text.trim_matches([' ', '\0']);
    match digits {
        "" => Ok(0),
        digits => u64::from_str_radix(digits, 8).map_err(|_| broken("a number in the tar stream is none")),
    }
}

/// Where an entry goes; an error where it would leave the directory.
fn inside(dest: &str, name: &str) -> Result<String> {
    let unsafe_entry = || {
        Error::new(ErrorKind::Denied, format!("the tar stream's entry {name} leaves the directory"))
            .with_reason("unsafe_entry")
    };
    if name.starts_with('/') || name.split('/').any(|part| part == "..") || name.contains('\0') {
        return Err(unsafe_entry());
    }
    Ok(super::fs::normal(dest, name))
}

/// The values of a PAX header that matter.
fn pax(text: &str, name: &mut Option<String>, target: &mut Option<String>) {
    for record in text.split('\n') {
        let Some((key, value)) = record.split_once(' ').and_then(|(_, pair)| pair.split_once('=')) else { continue };
        match key {
            "path" => *name = Some(value.to_owned()),
            "linkpath" => *target = Some(value.to_owned()),
            _ => {}
        }
    }
}

pub(super) async fn unpack(machine: &Machine, dest: &str, reader: &mut Reader, writer: &mut Writer) -> Result<()> {
    absolute(dest)?;
    let dest = super::fs::normal("", dest);
    machine.disks(|disks| disks.make_dirs(&dest))?;
    let mut source = Source { reader, left: bytes::Bytes::new(), taken: 0 };
    let (mut name, mut target, mut entries) = (None, None, 0);
    while let Some(block) = source.block().await? {
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let (size, kind) = (number(&block, 124, 12)?, block[156]);
        match kind {
            b'L' => name = Some(source.text(size).await?.trim_end_matches('\0').to_owned()),
            b'K' => target = Some(source.text(size).await?.trim_end_matches('\0').to_owned()),
            b'x' => pax(&source.text(size).await?, &mut name, &mut target),
            b'g' => {
                source.text(size).await?;
            }
            kind => {
                let own = match field(&block, 345, 155)?.as_str() {
                    prefix if !prefix.is_empty() && &block[257..262] == b"ustar" => {
                        format!("{prefix}/{}", field(&block, 0, 100)?)
                    }
                    _ => field(&block, 0, 100)?,
                };
                let path = inside(&dest, &name.take().unwrap_or(own))?;
                let own_target = field(&block, 157, 100)?;
                let target = target.take().unwrap_or(own_target);
                let node = match kind {
                    b'0' | 0 | b'7' => Node::File(source.content(size).await?),
                    b'5' => Node::Dir,
                    b'2' => Node::Link(target),
                    _ => return Err(broken("the tar stream holds an entry of a kind that a simulated guest has not")),
                };
                let entry = Entry {
                    node,
                    mode: (number(&block, 100, 8)? & 0o7777) as u32,
                    uid: number(&block, 108, 8)? as u32,
                    gid: number(&block, 116, 8)? as u32,
                    mtime: UnixMillis(number(&block, 136, 12)?.saturating_mul(1000)),
                };
                entries += 1;
                place(machine, &dest, &path, entry)?;
            }
        }
    }
    let bytes = source.taken;
    writer.message(&Reply::Done { bytes, entries }).await
}

fn place(machine: &Machine, dest: &str, path: &str, entry: Entry) -> Result<()> {
    machine.disks(|disks| {
        // A link that was unpacked before shall not lead an entry out of the directory.
        let mut above = crate::memory::tree::parent(path);
        while above.len() > dest.len() {
            if disks.info(above, false).is_ok_and(|info| info.kind == FileKind::Symlink) {
                return Err(Error::new(ErrorKind::Denied, format!("{path} leads through a symbolic link"))
                    .with_reason("unsafe_entry"));
            }
            above = crate::memory::tree::parent(above);
        }
        let exists = disks.info(super::shell::show(path), false).is_ok_and(|info| info.kind == FileKind::Directory);
        if exists && entry.node == Node::Dir {
            return Ok(());
        }
        disks.put(path, entry, true)
    })
}
