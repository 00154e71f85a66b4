//! Carries a running program's streams, signals and end.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::process::{Pid, kill_process_group};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::Notify;

use super::spawn::Running;
use super::stream::{Sink, Source};
use crate::api::guest::{
    CHANNEL_MAIN, CHANNEL_STDERR, ExecControl, ExecEvent, Frame, FrameReader, FrameWriter, STDIN_WINDOW, Signal,
};
use crate::error::{Error, Result};

/// How long a program may take to end after its host has hung up, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How many bytes of stdin are taken before the host is told.
const TOLD: u64 = (STDIN_WINDOW / 4) as u64;

/// What end of file is on a terminal: Ctrl-D.
const END_OF_FILE: &[u8] = b"\x04";

pub(super) async fn run<R, W>(running: Running, reader: FrameReader<R>, writer: FrameWriter<W>) -> Result<()>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let Running { mut child, group, stdin, stdout, stderr } = running;
    let guard = Group(group);
    let taken = Taken::default();
    let ended = {
        let incoming = incoming(reader, stdin, group, &taken);
        let outgoing = outgoing(writer, &mut child, group, stdout, stderr, &taken);
        tokio::select! {
            result = outgoing => result.map(|()| true),
            broken = incoming => broken.map(|()| false),
        }
    };
    if let Ok(true) = ended {
        guard.release();
        return Ok(());
    }
    // The host is gone. What runs for it is told so, and killed if it does not listen.
    let _ = kill_process_group(group, rustix::process::Signal::HUP);
    let _ = tokio::time::timeout(GRACE, child.wait()).await;
    drop(guard);
    // Collects what the guard has killed.
    let _ = child.wait().await;
    ended.map(|_| ())
}

/// Kills the program's group unless the program ended by itself.
struct Group(Pid);

impl Group {
    fn release(self) {
        std::mem::forget(self);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, rustix::process::Signal::KILL);
    }
}

/// How many bytes the program took of its stdin and the host was not told of.
#[derive(Default)]
struct Taken {
    bytes: AtomicU64,
    enough: Notify,
}

impl Taken {
    fn add(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes >= TOLD {
            self.enough.notify_one();
        }
    }
}

/// Host to program, until the host hangs up or breaks the protocol. Never ends before.
async fn incoming<R: AsyncRead + Unpin>(
    mut reader: FrameReader<R>,
    mut stdin: Sink,
    group: Pid,
    taken: &Taken,
) -> Result<()> {
    let mut queue: VecDeque<Bytes> = VecDeque::new();
    let mut queued = 0;
    let mut over = false;
    loop {
        if over && queue.is_empty() && matches!(stdin, Sink::Pipe(_)) {
            stdin = Sink::Closed;
        }
        let writing = async {
            match (stdin.io(), queue.front()) {
                (Some(io), Some(front)) => io.write(front).await,
                // Nobody reads what is left.
                (None, Some(front)) => Ok(front.len()),
                (_, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = reader.next() => match frame? {
                None => return Ok(()),
                Some(Frame::Data { channel: CHANNEL_MAIN, bytes }) if !over => {
                    queued += bytes.len();
                    if queued > STDIN_WINDOW {
                        return Err(Error::internal("the host sent more stdin than its window"));
                    }
                    queue.push_back(bytes);
                }
                Some(Frame::End { channel: CHANNEL_MAIN }) => {
                    over = true;
                    if matches!(stdin, Sink::Terminal(_)) {
                        queue.push_back(Bytes::from_static(END_OF_FILE));
                    }
                }
                Some(frame @ Frame::Control(_)) => match frame.message()? {
                    ExecControl::Resize(size) => {
                        if let Sink::Terminal(terminal) = &stdin {
                            // A terminal that is gone has no size.
                            let _ = terminal.resize(pty_process::Size::new(size.rows, size.cols));
                        }
                    }
                    ExecControl::Signal { signal } => send(group, signal),
                },
                Some(_) => return Err(Error::internal("the host sent a frame that was not due")),
            },
            written = writing => match written {
                Ok(written) if written > 0 => {
                    if let Some(front) = queue.front_mut() {
                        front.advance(written);
                        if front.is_empty() {
                            queue.pop_front();
                        }
                    }
                    // Ctrl-D is ours: the host did not send it.
                    let sent = written.min(queued);
                    queued -= sent;
                    taken.add(sent as u64);
                }
                // The program closed its stdin.
                Ok(_) | Err(_) => stdin = Sink::Closed,
            },
        }
    }
}

fn send(group: Pid, signal: Signal) {
    if let Some(signal) = rustix::process::Signal::from_named_raw(i32::from(signal.0)) {
        // A program that has just ended is none to send to.
        let _ = kill_process_group(group, signal);
    }
}

/// Program to host, until the program has ended and everything it wrote was sent.
async fn outgoing<W: AsyncWrite + Unpin>(
    mut writer: FrameWriter<W>,
    child: &mut Child,
    group: Pid,
    mut stdout: Source,
    stderr: Option<Source>,
    taken: &Taken,
) -> Result<()> {
    let pid = u32::try_from(group.as_raw_pid()).unwrap_or(0);
    writer.message(&ExecEvent::Started { pid }).await?;
    let mut stderr = stderr;
    let mut stdout_open = true;
    let mut stderr_open = stderr.is_some();
    let status = loop {
        tokio::select! {
            // The end first: what is then left to read is read anyway, and others who go on writing cannot hide it.
            biased;
            status = child.wait() => break status,
            () = taken.enough.notified() => {
                let bytes = taken.bytes.swap(0, Ordering::AcqRel);
                writer.message(&ExecEvent::StdinTaken { bytes }).await?;
            }
            piece = next(&mut stderr), if stderr_open => match piece {
                Some(bytes) => writer.send(&Frame::Data { channel: CHANNEL_STDERR, bytes }).await?,
                None => stderr_open = false,
            },
            piece = stdout.next(), if stdout_open => match piece {
                Some(bytes) => writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes }).await?,
                None => stdout_open = false,
            },
        }
    };
    let status = status.map_err(|error| Error::internal("cannot learn how a program ended").with_source(error))?;
    for (channel, source) in [(CHANNEL_STDERR, stderr), (CHANNEL_MAIN, Some(stdout))] {
        let Some(mut source) = source else { continue };
        let mut count = 0;
        while let Some(bytes) = source.left(&mut count) {
            writer.send(&Frame::Data { channel, bytes }).await?;
        }
        writer.queue(&Frame::End { channel });
    }
    writer.message(&ended(status)).await
}

async fn next(source: &mut Option<Source>) -> Option<Bytes> {
    match source {
        Some(source) => source.next().await,
        None => None,
    }
}

fn ended(status: ExitStatus) -> ExecEvent {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExecEvent::Exited { code: u8::try_from(code & 0xff).unwrap_or(255) },
        (None, signal) => {
            ExecEvent::Signaled { signal: Signal(signal.and_then(|signal| u8::try_from(signal).ok()).unwrap_or(0)) }
        }
    }
}
