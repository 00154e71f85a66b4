//! Runs a simulated program for the host: its streams, its signals, its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::input::{HostInput, Input};
use super::output::Output;
use super::session::{Reader, Writer};
use super::shell::{Ended, Shell, Streams};
use super::terminal::{Terminal, Typed};
use super::{Machine, programs};
use crate::api::guest::{
    CHANNEL_MAIN, CHANNEL_STDERR, ExecControl, ExecEvent, ExecRequest, Frame, STDIN_WINDOW, Signal, WireError,
};
use crate::error::{Error, ErrorKind, Result};

/// Frames that wait for the host before a program does.
const QUEUE: usize = 8;
/// Signals that end nothing: CHLD, CONT, WINCH.
const HARMLESS: [u8; 4] = [0, 17, 18, 28];

pub(super) async fn serve(machine: &Machine, request: ExecRequest, mut reader: Reader, writer: Writer) -> Result<()> {
    let (frames, queue) = mpsc::channel(QUEUE);
    let (ran, wrote) = tokio::join!(run(machine, request, &mut reader, frames), write(writer, queue));
    ran?;
    // The peer closes; until then what was sent is its to read.
    let _writer = wrote?;
    while reader.next().await?.is_some() {}
    Ok(())
}

async fn write(mut writer: Writer, mut queue: mpsc::Receiver<Frame>) -> Result<Writer> {
    while let Some(frame) = queue.recv().await {
        writer.send(&frame).await?;
    }
    Ok(writer)
}

async fn tell(frames: &mpsc::Sender<Frame>, event: &ExecEvent) -> Result<()> {
    send(frames, Frame::control(event)?).await
}

async fn send(frames: &mpsc::Sender<Frame>, frame: Frame) -> Result<()> {
    frames.send(frame).await.map_err(|_| Error::new(ErrorKind::Unavailable, "the host hung up"))
}

/// Where the program begins, or why it cannot.
pub(super) fn shell(machine: &Machine, request: &ExecRequest) -> Result<Shell> {
    request.check()?;
    let user = match request.user.as_deref() {
        None | Some("root" | "0") => "root",
        Some("nobody" | "65534") => "nobody",
        Some(other) => return Err(Error::not_found(format!("{other}: no such user"))),
    };
    let home = if user == "root" { "/root" } else { "/" };
    let cwd = super::fs::normal("", request.cwd.as_deref().unwrap_or(home));
    machine.disks(|disks| disks.list(&cwd).map(|_| ()))?;
    let program = &request.argv[0];
    if !programs::exists(program) {
        return Err(Error::not_found(format!("{program}: not found")));
    }
    let mut env: BTreeMap<String, String> = [
        ("HOME", home),
        ("USER", user),
        ("LOGNAME", user),
        ("SHELL", "/bin/sh"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if let Some(tty) = &request.tty {
        env.insert("TERM".to_owned(), tty.term.clone().unwrap_or_else(|| "linux".to_owned()));
    }
    env.extend(request.env.clone());
    let pid = machine.monitor(|monitor| {
        monitor.guest_pids += 1;
        monitor.guest_pids + 100
    })?;
    Ok(Shell {
        machine: machine.clone(),
        env,
        variables: BTreeMap::new(),
        cwd,
        user: user.to_owned(),
        pid,
        status: 0,
        arguments: Vec::new(),
        terminal: request.tty.as_ref().map(|tty| Arc::new(Mutex::new(tty.size))),
        interrupt: Arc::new(Notify::new()),
    })
}

async fn run(machine: &Machine, request: ExecRequest, reader: &mut Reader, frames: mpsc::Sender<Frame>) -> Result<()> {
    let mut shell = match shell(machine, &request) {
        Ok(shell) => shell,
        Err(error) => return tell(&frames, &ExecEvent::Failed { error: WireError::from(&error) }).await,
    };
    tell(&frames, &ExecEvent::Started { pid: shell.pid }).await?;
    let terminal = request.tty.is_some();
    let output = |channel| Output::Host { channel, frames: frames.clone(), terminal };
    let (chunks, source) = mpsc::unbounded_channel();
    let outstanding = Arc::new(AtomicUsize::new(0));
    let mut control = Control {
        chunks: (request.stdin || terminal).then_some(chunks),
        outstanding: outstanding.clone(),
        frames: frames.clone(),
        terminal: terminal.then(Terminal::default),
        size: shell.terminal.clone(),
        interrupt: shell.interrupt.clone(),
        interactive: terminal && programs::is_interactive_shell(&request.argv),
    };
    let stdin =
        HostInput { chunks: source, left: Bytes::new(), frames: (!terminal).then(|| frames.clone()), outstanding };
    let mut streams = Streams {
        stdin: if control.chunks.is_some() { Input::Host(stdin) } else { Input::Empty },
        stdout: output(CHANNEL_MAIN),
        stderr: output(if terminal { CHANNEL_MAIN } else { CHANNEL_STDERR }),
    };
    let ended = tokio::select! {
        // A program that can go on does, before it hears of something new.
        biased;
        ended = shell.run(&request.argv, &mut streams) => ended,
        ended = control.serve(reader) => ended?,
    };
    for channel in [CHANNEL_MAIN, CHANNEL_STDERR] {
        send(&frames, Frame::End { channel }).await?;
    }
    let event = match ended {
        Ended::Status(code) | Ended::Exit(code) => ExecEvent::Exited { code },
        Ended::Signal(signal) => ExecEvent::Signaled { signal: Signal(signal) },
    };
    tell(&frames, &event).await
}

/// What the host sends while a program runs.
struct Control {
    /// `None` once stdin has ended.
    chunks: Option<mpsc::UnboundedSender<Bytes>>,
    outstanding: Arc<AtomicUsize>,
    frames: mpsc::Sender<Frame>,
    terminal: Option<Terminal>,
    size: Option<Arc<Mutex<crate::api::guest::TtySize>>>,
    interrupt: Arc<Notify>,
    interactive: bool,
}

impl Control {
    /// Serves until something ends the program; an error where the host hung up.
    async fn serve(&mut self, reader: &mut Reader) -> Result<Ended> {
        loop {
            let Some(frame) = reader.next().await? else {
                return Err(Error::new(ErrorKind::Unavailable, "the host hung up while a program ran"));
            };
            let ended = match frame {
                Frame::Data { bytes, .. } => self.data(bytes).await?,
                Frame::End { .. } => {
                    self.chunks = None;
                    None
                }
                control @ Frame::Control(_) => match control.message()? {
                    ExecControl::Resize(size) => {
                        if let Some(known) = &self.size {
                            *known.lock().unwrap_or_else(PoisonError::into_inner) = size;
                        }
                        None
                    }
                    ExecControl::Signal { signal } if HARMLESS.contains(&signal.0) => None,
                    ExecControl::Signal { signal } => self.signal(signal.0),
                },
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    async fn data(&mut self, bytes: Bytes) -> Result<Option<Ended>> {
        if let Some(terminal) = &mut self.terminal {
            let typed = terminal.typed(&bytes);
            tell(&self.frames, &ExecEvent::StdinTaken { bytes: bytes.len() as u64 }).await?;
            for typed in typed {
                match typed {
                    Typed::Echo(echo) => {
                        send(&self.frames, Frame::Data { channel: CHANNEL_MAIN, bytes: echo.into() }).await?;
                    }
                    Typed::Line(line) => self.feed(line.into())?,
                    Typed::Interrupt => {
                        if let Some(ended) = self.signal(Signal::INT.0) {
                            return Ok(Some(ended));
                        }
                    }
                    Typed::End => self.chunks = None,
                }
            }
            return Ok(None);
        }
        self.feed(bytes)?;
        Ok(None)
    }

    fn feed(&self, bytes: Bytes) -> Result<()> {
        if self.chunks.is_none() {
            return Ok(());
        }
        let before = self.outstanding.fetch_add(bytes.len(), Ordering::Relaxed);
        if self.terminal.is_none() && before.saturating_add(bytes.len()) > STDIN_WINDOW {
            return Err(Error::new(ErrorKind::Exhausted, "the host sent more stdin than was taken"));
        }
        if let Some(chunks) = &self.chunks {
            // Nobody reads once the program is about to end.
            let _ = chunks.send(bytes);
        }
        Ok(())
    }

    fn signal(&self, signal: u8) -> Option<Ended> {
        if self.interactive && signal == Signal::INT.0 {
            self.interrupt.notify_waiters();
            return None;
        }
        // A shell that talks to a person does not end by being asked to.
        let ignored = self.interactive && [Signal::TERM.0, 3, 20].contains(&signal);
        (!ignored).then_some(Ended::Signal(signal))
    }
}
