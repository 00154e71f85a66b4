//! Sends frames as they are, from inside a guest of lab B, for the case `isolation`: `frame INTERFACE HEX…`, or one to every
//! port of TCP or UDP: `frame ports INTERFACE HEX`.

use std::ffi::{CString, c_char, c_int, c_uint, c_ushort, c_void};

/// `struct sockaddr_ll`.
#[repr(C)]
struct Address {
    family: c_ushort,
    protocol: c_ushort,
    index: c_int,
    hardware: c_ushort,
    kind: u8,
    length: u8,
    mac: [u8; 8],
}

unsafe extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn if_nametoindex(name: *const c_char) -> c_uint;
    fn sendto(fd: c_int, bytes: *const c_void, len: usize, flags: c_int, to: *const Address, size: c_uint) -> isize;
}

const AF_PACKET: c_ushort = 17;
const SOCK_RAW: c_int = 3;
const ENOBUFS: c_int = 105;

/// Where the port is that a frame of TCP or UDP goes to.
const PORT: usize = 14 + 20 + 2;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let mut frame: Vec<u8> = digits.chunks(2).map(pair).collect();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn send(fd: c_int, index: c_uint, frame: &[u8]) {
    let index = index.try_into().unwrap();
    let to = Address { family: AF_PACKET, protocol: 0, index, hardware: 0, kind: 0, length: 6, mac: [0; 8] };
    let size = size_of::<Address>().try_into().unwrap();
    loop {
        // SAFETY: both live through the call, with the sizes that are told.
        let sent = unsafe { sendto(fd, frame.as_ptr().cast(), frame.len(), 0, &raw const to, size) };
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            _ if sent >= 0 => return,
            // The queue is full.
            Some(ENOBUFS) => std::thread::sleep(std::time::Duration::from_millis(1)),
            _ => panic!("{error}"),
        }
    }
}

fn main() {
    let mut words = std::env::args().skip(1).peekable();
    let all_ports = words.next_if(|word| word == "ports").is_some();
    let interface = CString::new(words.next().expect("usage: frame [ports] INTERFACE HEX…")).unwrap();
    // SAFETY: a string that ends, which lives through the call.
    let index = unsafe { if_nametoindex(interface.as_ptr()) };
    assert_ne!(index, 0, "there is no such interface");
    // SAFETY: no memory is given away.
    let fd = unsafe { socket(AF_PACKET.into(), SOCK_RAW, 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    for mut frame in words.map(|word| bytes(&word)) {
        if !all_ports {
            send(fd, index, &frame);
            continue;
        }
        for port in 0..=u16::MAX {
            frame[PORT..PORT + 2].copy_from_slice(&port.to_be_bytes());
            send(fd, index, &frame);
        }
    }
}
