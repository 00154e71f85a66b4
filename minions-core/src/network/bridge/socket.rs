//! A netlink socket: several requests in one go, and what the kernel says to each.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with, sockopt,
};

use super::wire::{Message, Reply, replies};

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// The answer of a dump is not of one moment.
const INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The most that the kernel puts into one datagram of a dump, twice.
const ROOM: usize = 64 << 10;
/// Room for what the kernel has to say before it is read.
const QUEUE: usize = 8 << 20;
/// How often a dump is begun anew when the host changes under it.
const TRIES: usize = 20;

/// What became of one request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The bodies of what it brought.
    pub bodies: Vec<Vec<u8>>,
    /// The kernel's refusal.
    pub error: Option<Errno>,
}

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    seq: u32,
    room: Vec<u8>,
    /// How many times something was sent.
    pub sent: u64,
}

impl Socket {
    /// In the network namespace of the calling thread. Without a protocol it is rtnetlink, whose number is zero.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        // Without the privilege for more than the system's limit the limit has to do: that is seen when it does not.
        if sockopt::set_socket_recv_buffer_size_force(&fd, QUEUE).is_err() {
            sockopt::set_socket_recv_buffer_size(&fd, QUEUE)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&fd, QUEUE).is_err() {
            sockopt::set_socket_send_buffer_size(&fd, QUEUE)?;
        }
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, seq: 0, room: vec![0; ROOM], sent: 0 })
    }

    /// The index of an interface: a question that waits for no change of others.
    pub fn index_of(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.fd, name)?)
    }

    fn next(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1).max(1);
        self.seq
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What was left of a request that was given up would be taken for an answer.
        while recv(&self.fd, &mut self.room[..], RecvFlags::DONTWAIT).is_ok() {}
        self.sent += 1;
        let sent = sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// What has come. `None` when there is no more: the kernel has answered before a send returns.
    fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            match recv(&self.fd, &mut self.room[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, len)) if len > ROOM => {
                    return Err(io::Error::other("the kernel said more than there is room for"));
                }
                Ok((_, len)) => return Ok(Some(&self.room[..len])),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends requests in one go; each is done or refused by itself, in order.
    pub fn ask(&mut self, messages: &[Message]) -> io::Result<Vec<Answer>> {
        let first = self.seq.wrapping_add(1).max(1);
        let mut bytes = Vec::new();
        for message in messages {
            let seq = self.next();
            message.encode(&mut bytes, REQUEST | ACK, seq);
        }
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        self.send(&bytes)?;
        let mut answers: Vec<Answer> = messages.iter().map(|_| Answer::default()).collect();
        let mut done = vec![false; messages.len()];
        while let Some(received) = self.receive()? {
            for reply in replies(received) {
                let Some(at) = usize::try_from(reply.seq.wrapping_sub(first)).ok() else { continue };
                let Some(answer) = answers.get_mut(at) else { continue };
                match refusal(&reply) {
                    Some(Ok(())) => done[at] = true,
                    Some(Err(error)) => {
                        done[at] = true;
                        answer.error = Some(error);
                    }
                    None => answer.bodies.push(reply.body.to_vec()),
                }
            }
        }
        match done.iter().all(|done| *done) {
            true => Ok(answers),
            false => Err(io::Error::other("the kernel did not answer every request")),
        }
    }

    /// One request that must be done.
    pub fn ask_one(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        let answer = self.ask(&[message])?.into_iter().next().unwrap_or_default();
        match answer.error {
            Some(error) => Err(error.into()),
            None => Ok(answer.bodies),
        }
    }

    /// Everything of a kind, as of one moment.
    pub fn dump(&mut self, message: &Message) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..TRIES {
            if let Some(bodies) = self.dump_once(message)? {
                return Ok(bodies);
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the host changes faster than it can be listed"))
    }

    fn dump_once(&mut self, message: &Message) -> io::Result<Option<Vec<Vec<u8>>>> {
        let seq = self.next();
        let mut bytes = Vec::new();
        message.encode(&mut bytes, REQUEST | DUMP, seq);
        self.send(&bytes)?;
        let (mut bodies, mut torn) = (Vec::new(), false);
        while let Some(received) = self.receive()? {
            for reply in replies(received).filter(|reply| reply.seq == seq) {
                torn |= reply.flags & INTERRUPTED != 0;
                if reply.kind == DONE {
                    return match refusal(&Reply { kind: ERROR, ..reply }) {
                        Some(Err(error)) => Err(error.into()),
                        _ => Ok((!torn).then_some(bodies)),
                    };
                }
                match refusal(&reply) {
                    Some(Err(Errno::INTR | Errno::AGAIN)) => return Ok(None),
                    Some(Err(error)) => return Err(error.into()),
                    Some(Ok(())) => {}
                    None => bodies.push(reply.body.to_vec()),
                }
            }
        }
        Err(io::Error::other("the kernel did not finish a list"))
    }

    /// Sends messages between two others as one transaction of nfnetlink: all of them take effect, or none.
    pub fn transaction(&mut self, begin: &Message, messages: &[Message], end: &Message) -> io::Result<()> {
        let Some((last, others)) = messages.split_last() else { return Ok(()) };
        let mut bytes = Vec::new();
        let seq = self.next();
        begin.encode(&mut bytes, REQUEST, seq);
        for message in others {
            let seq = self.next();
            message.encode(&mut bytes, REQUEST, seq);
        }
        let last_seq = self.next();
        last.encode(&mut bytes, REQUEST | ACK, last_seq);
        let seq = self.next();
        end.encode(&mut bytes, REQUEST, seq);
        self.send(&bytes)?;
        let (mut done, mut refused) = (false, None);
        while let Some(received) = self.receive()? {
            for reply in replies(received) {
                match refusal(&reply) {
                    Some(Ok(())) => done |= reply.seq == last_seq,
                    Some(Err(error)) => refused = refused.or(Some(error)),
                    None => {}
                }
            }
        }
        match (refused, done) {
            (Some(error), _) => Err(error.into()),
            (None, true) => Ok(()),
            (None, false) => Err(io::Error::other("the kernel did not answer a transaction")),
        }
    }
}

/// What an acknowledgement says; `None` where the message is none.
fn refusal(reply: &Reply<'_>) -> Option<Result<(), Errno>> {
    if reply.kind != ERROR {
        return None;
    }
    let code = super::wire::u32_at(reply.body, 0).map_or(0, u32::cast_signed);
    Some(if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code.saturating_neg())) })
}
