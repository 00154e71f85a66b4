//! What stands for a monitor with its guest: a TAP interface held open, spoken to in raw frames.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use minions_core::network::PortConfig;
use minions_core::types::names;

use crate::frames::{ARP, BROADCAST, arp, ethernet};

/// Longer than the kernel takes, which hands a frame on before the write returns. Milliseconds.
const SOON: i32 = 20;

/// An open TAP interface.
#[derive(Debug)]
pub struct Wire {
    file: File,
    /// What virtio has before each frame.
    header: usize,
}

impl Wire {
    /// As a monitor opens a port.
    pub fn attach(name: &str) -> io::Result<Self> {
        Self::open(name, libc::IFF_VNET_HDR, 10)
    }

    /// A TAP of somebody else's.
    pub fn foreign(name: &str) -> Self {
        Self::open(name, 0, 0).unwrap()
    }

    fn open(name: &str, flags: i32, header: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        let mut request = [0u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        let flags = u16::try_from(libc::IFF_TAP | libc::IFF_NO_PI | flags).unwrap();
        request[16..18].copy_from_slice(&flags.to_ne_bytes());
        #[expect(unsafe_code, reason = "an ioctl that no safe crate wraps")]
        // SAFETY: TUNSETIFF reads and writes one `ifreq` of 40 bytes, which lives over the call.
        let status = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
        if status == 0 { Ok(Self { file, header }) } else { Err(io::Error::last_os_error()) }
    }

    /// It stays when it is closed.
    pub fn keep(&self) {
        #[expect(unsafe_code, reason = "an ioctl that no safe crate wraps")]
        // SAFETY: it takes a number.
        let status = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETPERSIST, 1) };
        assert_eq!(status, 0);
    }

    pub fn send(&mut self, frame: &[u8]) {
        let mut bytes = vec![0; self.header];
        bytes.extend(frame);
        // What the firewall drops is told as an error by some kernels: whether it arrived is counted elsewhere.
        if let Err(error) = self.file.write_all(&bytes) {
            assert!(!matches!(error.raw_os_error(), Some(libc::EBADFD | libc::EIO)), "{error}");
        }
    }

    /// Every frame that is there, or comes soon.
    pub fn received(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut bytes = vec![0; 70_000];
        while readable(&self.file) {
            match self.file.read(&mut bytes) {
                Ok(len) => frames.push(bytes[self.header..len].to_vec()),
                Err(_) => break,
            }
        }
        frames
    }

    /// Whether a frame with these bytes comes soon. All others are thrown away.
    pub fn receives(&mut self, mark: &[u8]) -> bool {
        self.received().iter().any(|frame| contains(frame, mark))
    }
}

fn readable(file: &File) -> bool {
    let mut one = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    #[expect(unsafe_code, reason = "no crate of the tests wraps it")]
    // SAFETY: it reads and writes one `pollfd`, which lives over the call.
    let ready = unsafe { libc::poll(&raw mut one, 1, SOON) };
    ready > 0 && one.revents & libc::POLLIN != 0
}

pub fn contains(frame: &[u8], mark: &[u8]) -> bool {
    frame.windows(mark.len()).any(|window| window == mark)
}

/// Whoever had it open may be a process that was just being born, and lets go of it in a moment: ten seconds at most.
#[expect(clippy::disallowed_methods, reason = "a guest waits on a thread of its own")]
fn attached(tap: &str) -> Wire {
    for _ in 0..1_000 {
        match Wire::attach(tap) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            attached => return attached.unwrap(),
        }
    }
    panic!("{tap} stays in use");
}

/// A guest on its port.
#[derive(Debug)]
pub struct Guest {
    pub wire: Wire,
    pub ip: Ipv4Addr,
    pub mac: [u8; 6],
}

impl Guest {
    /// Opens its port, and waits until its bridge takes notice: its gateway answers.
    pub fn boot(config: &PortConfig) -> Self {
        let mut wire = attached(names::tap(config.id).as_str());
        let (ip, mac) = (config.ip, config.mac.octets());
        let [a, b, _, _] = ip.octets();
        let gateway = Ipv4Addr::new(a, b, 0, 1);
        let ask = ethernet(BROADCAST, mac, ARP, &arp(1, (mac, ip), ([0; 6], gateway)));
        let answered = |frame: &Vec<u8>| frame.get(28..32) == Some(&gateway.octets());
        let ready = (0..500).any(|_| {
            wire.send(&ask);
            wire.received().iter().any(answered)
        });
        assert!(ready, "the gateway of {ip} does not answer");
        Self { wire, ip, mac }
    }
}

/// Sees what comes up an interface, or goes down on it.
#[derive(Debug)]
pub struct Capture(File);

impl Capture {
    pub fn on(index: u32) -> Self {
        let all = u16::try_from(libc::ETH_P_ALL).unwrap().to_be();
        #[expect(unsafe_code, reason = "packet sockets have no safe crate of ours")]
        // SAFETY: `socket` takes numbers; what it returns is ours alone; `bind` reads one `sockaddr_ll`, which lives over
        // the call; it is plain data, for which zeros are a value.
        let file = unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(all));
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            let fd = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
            address.sll_protocol = all;
            address.sll_ifindex = i32::try_from(index).unwrap();
            let len = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
            let status = libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len);
            assert_eq!(status, 0, "{}", io::Error::last_os_error());
            File::from(fd)
        };
        Self(file)
    }

    /// Whether a frame with these bytes was seen, or is soon.
    pub fn saw(&mut self, mark: &[u8]) -> bool {
        let mut bytes = vec![0; 70_000];
        let mut saw = false;
        while readable(&self.0) {
            let Ok(len) = self.0.read(&mut bytes) else { break };
            saw |= contains(&bytes[..len], mark);
        }
        saw
    }
}
