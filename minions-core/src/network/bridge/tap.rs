//! `/dev/net/tun`: makes TAP interfaces, and finds out whether somebody has one open.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use crate::types::IfName;

/// Where the kernel hands them out.
pub(super) const DEVICE: &str = "/dev/net/tun";

/// An open TAP interface. One that was made goes with it, unless it is kept.
#[derive(Debug)]
pub(super) struct Tap(File);

impl Tap {
    /// Makes one; refused where the name is taken, even by an idle TAP.
    pub fn make(name: &IfName) -> io::Result<Self> {
        Self::attach(name, libc::IFF_TUN_EXCL)
    }

    /// Opens one that exists, so that nobody else can; refused while somebody has it open.
    pub fn claim(name: &IfName) -> io::Result<Self> {
        Self::attach(name, 0)
    }

    fn attach(name: &IfName, more: c_int) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(DEVICE)?;
        // `struct ifreq`: the name in 16 bytes, the flags in two of the other 24.
        let mut request = [0u8; 40];
        request[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | more;
        request[16..18].copy_from_slice(&u16::try_from(flags).unwrap_or(u16::MAX).to_ne_bytes());
        #[expect(unsafe_code, reason = "an ioctl that no safe crate wraps")]
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which is 40 bytes, and `request` lives over the call.
        let status = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
        if status == 0 { Ok(Self(file)) } else { Err(io::Error::last_os_error()) }
    }

    /// Who may open it besides root.
    pub fn own(&self, uid: u32) -> io::Result<()> {
        self.set(libc::TUNSETOWNER, uid.cast_signed())
    }

    /// It stays when it is closed.
    pub fn keep(&self) -> io::Result<()> {
        self.set(libc::TUNSETPERSIST, 1)
    }

    fn set(&self, what: libc::Ioctl, value: c_int) -> io::Result<()> {
        #[expect(unsafe_code, reason = "an ioctl that no safe crate wraps")]
        // SAFETY: both requests take a number and touch no memory of ours.
        let status = unsafe { libc::ioctl(self.0.as_raw_fd(), what, value) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
