//! What OpenSSH added, and its client uses where it is offered.

use std::io;

use super::files::{GuestFiles, absolute};
use super::packet::{Input, MAX_PACKET, put_string, put_u32, put_u64};
use super::session::{MAX_HANDLES, MAX_PIECE, OK, Session, handle, status};

const RENAME: &[u8] = b"posix-rename@openssh.com";
const LINK: &[u8] = b"hardlink@openssh.com";
const SYNC: &[u8] = b"fsync@openssh.com";
const SET: &[u8] = b"lsetstat@openssh.com";
const LIMITS: &[u8] = b"limits@openssh.com";
const EXPAND: &[u8] = b"expand-path@openssh.com";

impl<F: GuestFiles> Session<F> {
    pub(super) fn offer(to: &mut Vec<u8>) {
        for name in [RENAME, LINK, SYNC, SET, LIMITS, EXPAND] {
            put_string(to, name);
            put_string(to, b"1");
        }
    }

    pub(super) fn extended(&self, id: u32, mut input: Input<'_>, to: &mut Vec<u8>) -> io::Result<()> {
        match input.string()? {
            RENAME => {
                let (from, new) = (self.path(&mut input)?, self.path(&mut input)?);
                self.files.rename(&from, &new, true)?;
            }
            LINK => {
                let (from, new) = (self.path(&mut input)?, self.path(&mut input)?);
                self.files.hard_link(&from, &new)?;
            }
            SYNC => {
                let handle = handle(&mut input)?;
                self.files.sync(self.file(handle)?.0)?;
            }
            SET => {
                let path = self.path(&mut input)?;
                self.files.set_attrs(&path, &input.attrs()?, false)?;
            }
            LIMITS => {
                to.push(201);
                put_u32(to, id);
                for limit in [MAX_PACKET, MAX_PIECE, MAX_PIECE, MAX_HANDLES] {
                    put_u64(to, limit as u64);
                }
                return Ok(());
            }
            EXPAND => {
                let path = match input.string()? {
                    b"~" => b"",
                    path => path.strip_prefix(b"~/").unwrap_or(path),
                };
                if path.starts_with(b"~") {
                    return Err(io::Error::other("only one's own home is known by ~"));
                }
                let path = self.files.resolve(&absolute(&self.home, path)?)?;
                return Self::name(id, &path, to);
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        status(to, id, OK, "");
        Ok(())
    }
}
