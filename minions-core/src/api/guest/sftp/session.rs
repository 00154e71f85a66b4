//! A packet in, its answer out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::files::{FileAttrs, GuestFiles, OpenHow, absolute};
use super::listing;
use super::packet::{Input, LENGTH, MAX_PACKET, malformed, put_attrs, put_string, put_u32};

/// Most files and directories that one session has open.
pub const MAX_HANDLES: usize = 64;

/// Most bytes of one read or write: a packet, without what stands around them.
pub(super) const MAX_PIECE: usize = MAX_PACKET - 1_024;

/// Most names in one answer, and bytes of them after which it goes out. A name has at most 255 bytes, and is there twice.
const NAMES: usize = 128;
const NAMES_BYTES: usize = 64 << 10;

/// What a client that does not say it makes.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

pub(super) const OK: u32 = 0;
const EOF: u32 = 1;
const NO_SUCH_FILE: u32 = 2;
const PERMISSION_DENIED: u32 = 3;
const FAILURE: u32 = 4;
const BAD_MESSAGE: u32 = 5;
const UNSUPPORTED: u32 = 8;

const VERSION: u32 = 3;

enum Open<F: GuestFiles> {
    File { file: F::File, append: bool },
    Dir(F::Dir),
}

/// One session. Files stay open until they are closed or it ends.
pub(super) struct Session<F: GuestFiles> {
    pub(super) files: Arc<F>,
    pub(super) home: Vec<u8>,
    open: BTreeMap<u32, Open<F>>,
    next: u32,
    greeted: bool,
}

impl<F: GuestFiles> Session<F> {
    pub(super) fn new(files: Arc<F>) -> Self {
        let home = files.home();
        Self { files, home, open: BTreeMap::new(), next: 0, greeted: false }
    }

    /// Adds the answer, with its length. An error is the end of the session: nothing after it can be understood.
    pub(super) fn answer(&mut self, packet: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        let mut input = Input(packet);
        let kind = input.u8()?;
        // A version stands where later packets have their number.
        let id = input.u32()?;
        if (kind == 1) == self.greeted {
            return Err(malformed());
        }
        let begin = to.len();
        to.extend_from_slice(&[0; LENGTH]);
        let answer = to.len();
        if kind == 1 {
            self.greeted = true;
            to.push(2);
            put_u32(to, VERSION);
            Self::offer(to);
        } else if let Err(error) = self.request(kind, id, input, to) {
            to.truncate(answer);
            status(to, id, code(&error), &error.to_string());
        }
        let length = u32::try_from(to.len() - begin - LENGTH).map_err(|_| malformed())?;
        to[begin..begin + LENGTH].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn request(&mut self, kind: u8, id: u32, mut input: Input<'_>, to: &mut Vec<u8>) -> io::Result<()> {
        match kind {
            3 => return self.open(id, input, to),
            4 => {
                let handle = handle(&mut input)?;
                self.open.remove(&handle).ok_or_else(no_handle)?;
            }
            5 => return self.read(id, input, to),
            6 => {
                let (handle, offset) = (handle(&mut input)?, input.u64()?);
                let bytes = input.string()?;
                let (file, append) = self.file(handle)?;
                let offset = if append { self.files.file_attrs(file)?.size.unwrap_or(offset) } else { offset };
                self.files.write(file, offset, bytes)?;
            }
            7 | 17 => {
                let path = self.path(&mut input)?;
                return Self::attrs(id, &self.files.attrs(&path, kind == 17)?, to);
            }
            8 => {
                let handle = handle(&mut input)?;
                return Self::attrs(id, &self.files.file_attrs(self.file(handle)?.0)?, to);
            }
            9 => {
                let path = self.path(&mut input)?;
                self.files.set_attrs(&path, &input.attrs()?, true)?;
            }
            10 => {
                let handle = handle(&mut input)?;
                self.files.set_file_attrs(self.file(handle)?.0, &input.attrs()?)?;
            }
            11 => {
                let path = self.path(&mut input)?;
                self.room()?;
                let dir = self.files.open_dir(&path)?;
                return self.opened(id, Open::Dir(dir), to);
            }
            12 => return self.names(id, input, to),
            13 => self.files.remove_file(&self.path(&mut input)?)?,
            14 => {
                let path = self.path(&mut input)?;
                self.files.make_dir(&path, input.attrs()?.mode.unwrap_or(DIR_MODE))?;
            }
            15 => self.files.remove_dir(&self.path(&mut input)?)?,
            16 => {
                let path = self.files.resolve(&self.path(&mut input)?)?;
                return Self::name(id, &path, to);
            }
            18 => {
                let (from, new) = (self.path(&mut input)?, self.path(&mut input)?);
                self.files.rename(&from, &new, false)?;
            }
            19 => {
                let target = self.files.read_link(&self.path(&mut input)?)?;
                return Self::name(id, &target, to);
            }
            20 => {
                // The other way round than the draft says, as OpenSSH has done it from its beginning.
                let target = input.string()?;
                let path = self.path(&mut input)?;
                self.files.symlink(&path, target)?;
            }
            200 => return self.extended(id, input, to),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        status(to, id, OK, "");
        Ok(())
    }

    pub(super) fn path(&self, input: &mut Input<'_>) -> io::Result<Vec<u8>> {
        absolute(&self.home, input.string()?)
    }

    pub(super) fn file(&self, handle: u32) -> io::Result<(&F::File, bool)> {
        match self.open.get(&handle) {
            Some(Open::File { file, append }) => Ok((file, *append)),
            Some(Open::Dir(_)) | None => Err(no_handle()),
        }
    }

    fn room(&self) -> io::Result<()> {
        match self.open.len() {
            0..MAX_HANDLES => Ok(()),
            _ => Err(io::Error::other("too many open files in one session")),
        }
    }

    fn open(&mut self, id: u32, mut input: Input<'_>, to: &mut Vec<u8>) -> io::Result<()> {
        let path = self.path(&mut input)?;
        let flags = input.u32()?;
        let attrs = input.attrs()?;
        self.room()?;
        let how = OpenHow {
            read: flags & 1 != 0,
            write: flags & 2 != 0,
            append: flags & 4 != 0,
            create: flags & 8 != 0,
            truncate: flags & 16 != 0,
            exclusive: flags & 32 != 0,
            mode: attrs.mode.unwrap_or(FILE_MODE),
        };
        let file = self.files.open(&path, &how)?;
        self.opened(id, Open::File { file, append: how.append }, to)
    }

    fn opened(&mut self, id: u32, open: Open<F>, to: &mut Vec<u8>) -> io::Result<()> {
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let handle = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(handle, open);
        to.push(102);
        put_u32(to, id);
        put_string(to, &handle.to_be_bytes());
        Ok(())
    }

    fn read(&self, id: u32, mut input: Input<'_>, to: &mut Vec<u8>) -> io::Result<()> {
        let (handle, offset) = (handle(&mut input)?, input.u64()?);
        let most = usize::try_from(input.u32()?).unwrap_or(MAX_PIECE).min(MAX_PIECE);
        let (file, _) = self.file(handle)?;
        to.push(103);
        put_u32(to, id);
        let length = to.len();
        put_u32(to, 0);
        let begin = to.len();
        to.resize(begin + most, 0);
        let mut read = 0;
        while read < most {
            match self.files.read(file, offset.saturating_add(read as u64), &mut to[begin + read..])? {
                0 => break,
                some => read += some,
            }
        }
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.truncate(begin + read);
        to[length..begin].copy_from_slice(&u32::try_from(read).unwrap_or(u32::MAX).to_be_bytes());
        Ok(())
    }

    fn names(&mut self, id: u32, mut input: Input<'_>, to: &mut Vec<u8>) -> io::Result<()> {
        let handle = handle(&mut input)?;
        let Some(Open::Dir(dir)) = self.open.get_mut(&handle) else { return Err(no_handle()) };
        to.push(104);
        put_u32(to, id);
        let place = to.len();
        put_u32(to, 0);
        let (begin, mut count) = (to.len(), 0);
        while count < NAMES && to.len() - begin < NAMES_BYTES {
            let Some((name, attrs)) = self.files.next(dir)? else { break };
            put_string(to, &name);
            put_string(to, &listing::line(&name, &attrs));
            put_attrs(to, &attrs);
            count += 1;
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to[place..begin].copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        Ok(())
    }

    fn attrs(id: u32, attrs: &FileAttrs, to: &mut Vec<u8>) -> io::Result<()> {
        to.push(105);
        put_u32(to, id);
        put_attrs(to, attrs);
        Ok(())
    }

    /// One name, which is a path.
    pub(super) fn name(id: u32, path: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        to.push(104);
        put_u32(to, id);
        put_u32(to, 1);
        put_string(to, path);
        put_string(to, path);
        put_attrs(to, &FileAttrs::default());
        Ok(())
    }
}

/// The number that a client was given for what it opened.
pub(super) fn handle(input: &mut Input<'_>) -> io::Result<u32> {
    input.string()?.try_into().map(u32::from_be_bytes).map_err(|_| no_handle())
}

fn no_handle() -> io::Error {
    io::Error::other("no such handle")
}

pub(super) fn status(to: &mut Vec<u8>, id: u32, code: u32, message: &str) {
    to.push(101);
    put_u32(to, id);
    put_u32(to, code);
    put_string(to, message.as_bytes());
    put_string(to, b"");
}

fn code(error: &io::Error) -> u32 {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => EOF,
        io::ErrorKind::NotFound => NO_SUCH_FILE,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PERMISSION_DENIED,
        io::ErrorKind::InvalidData => BAD_MESSAGE,
        io::ErrorKind::Unsupported => UNSUPPORTED,
        _ => FAILURE,
    }
}
