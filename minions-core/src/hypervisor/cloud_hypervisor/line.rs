//! The guest's serial line, and what its monitor tells of it.
//!
//! A monitor has one socket for the serial line, with room for one listener, and keeps a MiB of what is said while there is
//! none. One task for each guest that runs listens all its life: it writes what it hears to the log's file, hands it to
//! everybody who is attached, and types what they type. The daemon that comes after one that died takes its place when it
//! sees the VM for the first time.
//!
//! The same task hears the monitor's events, for one of them: a guest that starts itself anew would do so in the same
//! monitor, with nobody told. It is ended instead, and whoever wants it to run starts it.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::Turn;
use super::event::Events;
use super::machine::{Machine, Monitor};
use crate::host::process::Process;
use crate::host::socket;
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::record::Record;
use crate::hypervisor::{ConsoleBox, Line};
use crate::types::VmId;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// Questions that wait for the keeper of a line.
const ASKED: usize = 16;

/// How long a monitor whose line has ended may take to go or to say why it does not.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Which serial lines this process has in its hands.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<VmId, Kept>);

/// The way to the keeper of a line.
#[derive(Clone, Debug)]
struct Kept {
    asks: mpsc::Sender<Ask>,
    /// Its other end is dropped when the keeper has ended.
    ended: watch::Receiver<()>,
}

enum Ask {
    Attach {
        tail: usize,
        to: oneshot::Sender<ConsoleBox>,
    },
    /// Everything that the guest has said until now shall be in the file.
    Hear {
        done: oneshot::Sender<()>,
    },
}

impl Machine {
    fn kept(&self) -> Option<Kept> {
        self.hypervisor.lines().0.get(&self.id).cloned()
    }

    /// Somebody listens to the guest from now on, where there is a guest. What cannot be heard is told to the log only.
    pub async fn hear(&self, monitor: &Monitor) {
        if self.kept().is_some() {
            return;
        }
        let _turn = self.hypervisor.turn(self.id, Turn::Attach).await;
        if self.kept().is_none()
            && let Err(error) = self.listen(monitor).await
        {
            tracing::debug!(vm = %self.id, %error, "a serial line is not heard");
        }
    }

    async fn listen(&self, monitor: &Monitor) -> io::Result<()> {
        let socket = socket::connect_to(&self.places.serial(), monitor.process.pid()).await?;
        // What was told while nobody listened is over.
        let mut events = Events::over(pipe::OpenOptions::new().open_receiver(self.places.events())?);
        events.forget()?;
        let Some(process) = Process::open(monitor.process.pid())? else { return Ok(()) };
        let (asks, asked) = mpsc::channel(ASKED);
        let (alive, ended) = watch::channel(());
        self.hypervisor.lines().0.insert(self.id, Kept { asks, ended });
        tokio::spawn(Keeper::new(self.clone(), socket, process, events).run(asked, alive));
        Ok(())
    }

    /// Attaches to the serial line.
    pub async fn attach(&self, tail: usize) -> Result<ConsoleBox, MonitorError> {
        let gone = MonitorError::NoMonitor { id: self.id };
        let Some(monitor) = self.monitor().await? else { return Err(gone) };
        // Twice: a line that has just ended may begin anew.
        for _ in 0..2 {
            self.hear(&monitor).await;
            if let Some(console) = self.joined(tail).await {
                return Ok(console);
            }
            self.line_ends().await;
        }
        match self.holder().await? {
            None => Err(gone),
            Some(_) => Err(MonitorError::Protocol("the guest has no serial line yet".to_owned())),
        }
    }

    async fn joined(&self, tail: usize) -> Option<ConsoleBox> {
        let (to, console) = oneshot::channel();
        self.kept()?.asks.send(Ask::Attach { tail, to }).await.ok()?;
        console.await.ok()
    }

    /// Until whoever keeps the line has written all that was said.
    pub async fn heard(&self) {
        let Some(kept) = self.kept() else { return };
        let (done, heard) = oneshot::channel();
        if kept.asks.send(Ask::Hear { done }).await.is_err() || heard.await.is_err() {
            self.line_ends().await;
        }
    }

    /// Until nobody keeps the line any more: at once where nobody does, and soon where its monitor is dead.
    pub async fn line_ends(&self) {
        if let Some(Kept { mut ended, .. }) = self.kept() {
            while ended.changed().await.is_ok() {}
        }
    }
}

/// Who keeps one line.
#[derive(Debug)]
struct Keeper {
    machine: Machine,
    process: Process,
    events: Events,
    line: Line,
    record: Record,
    from: OwnedReadHalf,
    typed: Option<(OwnedWriteHalf, mpsc::Receiver<Bytes>)>,
}

impl Keeper {
    fn new(machine: Machine, socket: UnixStream, process: Process, events: Events) -> Self {
        let (from, to) = socket.into_split();
        let (line, typed) = Line::new();
        let record = Record::new(machine.id, machine.places.console());
        Self { machine, process, events, line, record, from, typed: Some((to, typed)) }
    }

    async fn run(mut self, mut asked: mpsc::Receiver<Ask>, alive: watch::Sender<()>) {
        // Beside the rest: a guest that does not take what is typed is read all the same.
        let typing = self.typed.take().map(|(to, typed)| tokio::spawn(type_on(to, typed)));
        self.keep(&mut asked).await;
        self.record.write().await;
        if let Some(typing) = typing {
            typing.abort();
        }
        let Self { machine, process, mut events, line, .. } = self;
        machine.hypervisor.lines().0.remove(&machine.id);
        drop((line, asked, alive));
        let last = async {
            tokio::select! {
                biased;
                () = events.guest_restarts() => end(&machine, &process),
                _ = process.exited() => {}
            }
        };
        // One that lives on and says nothing has another listener.
        let _ = tokio::time::timeout(AFTERWARDS, last).await;
    }

    /// Until the line ends.
    async fn keep(&mut self, asked: &mut mpsc::Receiver<Ask>) {
        let mut piece = vec![0; PIECE];
        loop {
            tokio::select! {
                read = self.from.read(&mut piece) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) => self.hear(&piece[..count]).await,
                },
                Some(ask) = asked.recv() => self.answer(ask).await,
                () = self.record.due() => self.record.write().await,
                () = self.events.guest_restarts() => end(&self.machine, &self.process),
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Attach { tail, to } => {
                self.hear_all().await;
                let first = match self.machine.tail(tail).await {
                    Ok(first) => first,
                    Err(error) => {
                        tracing::warn!(vm = %self.machine.id, %error, "the end of a serial log cannot be read");
                        Vec::new()
                    }
                };
                // One who has left already is seen as gone.
                let _ = to.send(self.line.attach(&first));
            }
            Ask::Hear { done } => {
                self.hear_all().await;
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    /// What is in the socket now: all that the guest has said until now.
    async fn hear_all(&mut self) {
        let mut piece = vec![0; PIECE];
        // Of the kernel itself: the runtime may not know yet that there is something.
        while let Ok((count @ 1.., _)) = recv(self.from.as_ref(), &mut piece[..], RecvFlags::DONTWAIT) {
            self.hear(&piece[..count]).await;
        }
        self.record.write().await;
    }

    async fn hear(&mut self, bytes: &[u8]) {
        self.record.take(bytes).await;
        self.line.print(bytes);
    }
}

/// A guest that starts itself anew ends its monitor.
fn end(machine: &Machine, process: &Process) {
    tracing::debug!(vm = %machine.id, "a guest restarts: its monitor is ended");
    if let Err(error) = process.kill() {
        tracing::warn!(vm = %machine.id, %error, "the monitor of a guest that restarts cannot be ended");
    }
}

async fn type_on(mut to: OwnedWriteHalf, mut typed: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = typed.recv().await {
        if to.write_all(&bytes).await.is_err() {
            // The reading half sees the end as well.
            break;
        }
    }
}
