//! The guest's serial line while somebody is attached to it.
//!
//! Whoever attaches first turns the line from the ring in the monitor to one end of a socket pair, which the monitor is given
//! through its control socket: there is no path to it, and nobody else can reach it. One task holds the other end: it
//! writes what it hears to the log's file, hands it to everybody who is attached, and types what they type. When the last one
//! has left, it turns the line back to the ring. A daemon that dies leaves a line that ends nowhere, until the next one sees
//! the monitor for the first time.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

use super::machine::Machine;
use super::wire::Qmp;
use super::{Turn, console};
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::record::Record;
use crate::hypervisor::{ConsoleBox, Line};
use crate::types::VmId;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// Questions that wait for the keeper of a line.
const ASKED: usize = 16;

/// Which serial lines this process has in its hands.
#[derive(Debug, Default)]
pub(super) struct Lines {
    kept: HashMap<VmId, Kept>,
    /// Monitors whose line is known to end in their ring, or with us.
    settled: HashSet<VmId>,
}

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

impl Lines {
    pub fn is_kept(&self, id: VmId) -> bool {
        self.kept.contains_key(&id)
    }

    pub fn note_settled(&mut self, id: VmId) {
        self.settled.insert(id);
    }

    /// The monitor is gone.
    pub fn forget(&mut self, id: VmId) {
        self.settled.remove(&id);
    }
}

impl Machine {
    /// A monitor that another daemon left with a line that ends nowhere gets its ring back.
    pub async fn settle(&self, qmp: &mut Qmp) -> Result<(), MonitorError> {
        let known = {
            let lines = self.hypervisor.lines();
            lines.settled.contains(&self.id) || lines.is_kept(self.id)
        };
        if known {
            return Ok(());
        }
        if !console::is_ring(qmp).await? {
            console::to_ring(qmp).await?;
        }
        self.hypervisor.lines().note_settled(self.id);
        Ok(())
    }

    /// Attaches to the serial line. Once begun it must come to its end.
    pub async fn attach(&self, tail: usize) -> Result<ConsoleBox, MonitorError> {
        let _turn = self.hypervisor.turn(self.id, Turn::Attach).await;
        if let Some(console) = self.joined(tail).await {
            return Ok(console);
        }
        self.line_ends().await;
        if self.pair().await?.monitor.is_none() {
            return Err(MonitorError::NoMonitor { id: self.id });
        }
        let begun = self.begin().await;
        if begun.is_err() && self.pair().await?.monitor.is_none() {
            return Err(MonitorError::NoMonitor { id: self.id });
        }
        begun?;
        // One that died in this very moment has ended its line.
        self.joined(tail).await.ok_or(MonitorError::NoMonitor { id: self.id })
    }

    async fn joined(&self, tail: usize) -> Option<ConsoleBox> {
        let kept = self.hypervisor.lines().kept.get(&self.id).cloned()?;
        let (to, console) = oneshot::channel();
        kept.asks.send(Ask::Attach { tail, to }).await.ok()?;
        console.await.ok()
    }

    /// Whether somebody keeps the line, and has written all that was said.
    pub async fn heard(&self) -> bool {
        let Some(kept) = self.hypervisor.lines().kept.get(&self.id).cloned() else { return false };
        let (done, heard) = oneshot::channel();
        if kept.asks.send(Ask::Hear { done }).await.is_ok() && heard.await.is_ok() {
            return true;
        }
        self.line_ends().await;
        false
    }

    /// Until nobody keeps the line any more: at once where nobody does, and soon where its monitor is dead.
    pub async fn line_ends(&self) {
        let kept = self.hypervisor.lines().kept.get(&self.id).cloned();
        if let Some(Kept { mut ended, .. }) = kept {
            while ended.changed().await.is_ok() {}
        }
    }

    /// Turns the line to us, and keeps it.
    async fn begin(&self) -> Result<(), MonitorError> {
        let io = MonitorError::io("make a socket for the serial line");
        let (ours, theirs) = UnixStream::pair().map_err(&io)?;
        let theirs = theirs.into_std().map_err(&io)?;
        let path = self.places.console();
        self.talk(async |qmp| {
            self.settle(qmp).await?;
            // Unknown, until the monitor has said that it did.
            self.hypervisor.lines().forget(self.id);
            console::to_socket(qmp, theirs.as_fd(), &path).await?;
            let (asks, asked) = mpsc::channel(ASKED);
            let (alive, ended) = watch::channel(());
            self.hypervisor.lines().kept.insert(self.id, Kept { asks, ended });
            let machine = Machine::new(self.hypervisor.clone(), self.id, self.places.clone());
            tokio::spawn(Keeper::new(machine, ours).run(asked, alive));
            Ok(())
        })
        .await
    }
}

/// Who keeps one line.
struct Keeper {
    machine: Machine,
    line: Line,
    record: Record,
    from: OwnedReadHalf,
    typed: Option<(OwnedWriteHalf, mpsc::Receiver<Bytes>)>,
}

/// Why a line is no longer kept.
enum Ended {
    /// Nobody is attached; nobody can attach while this is held.
    Left(OwnedMutexGuard<()>),
    /// The monitor closed its end.
    Dead,
}

impl Keeper {
    fn new(machine: Machine, socket: UnixStream) -> Self {
        let (from, to) = socket.into_split();
        let (line, typed) = Line::new();
        let record = Record::new(machine.id, machine.places.console());
        Self { machine, line, record, from, typed: Some((to, typed)) }
    }

    async fn run(mut self, mut asked: mpsc::Receiver<Ask>, alive: watch::Sender<()>) {
        // Beside the rest: a guest that does not take what is typed is read all the same.
        let typing = self.typed.take().map(|(to, typed)| tokio::spawn(type_on(to, typed)));
        let ended = self.keep(&mut asked).await;
        if let Ended::Left(_turn) = &ended {
            self.give_back().await;
        }
        if let Some(typing) = typing {
            typing.abort();
        }
        self.record.write().await;
        let (hypervisor, id) = (self.machine.hypervisor.clone(), self.machine.id);
        drop(self);
        hypervisor.lines().kept.remove(&id);
        drop((asked, alive));
    }

    async fn keep(&mut self, asked: &mut mpsc::Receiver<Ask>) -> Ended {
        let mut piece = vec![0; PIECE];
        loop {
            let idle = self.line.is_idle();
            let (hypervisor, id) = (self.machine.hypervisor.clone(), self.machine.id);
            let leaves = self.line.somebody_leaves();
            tokio::select! {
                read = self.from.read(&mut piece) => match read {
                    Ok(0) | Err(_) => return Ended::Dead,
                    Ok(count) => self.hear(&piece[..count]).await,
                },
                Some(ask) = asked.recv() => self.answer(ask).await,
                () = self.record.due() => self.record.write().await,
                () = leaves => {}
                turn = hypervisor.turn(id, Turn::Attach), if idle => return Ended::Left(turn),
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Attach { tail, to } => {
                self.record.write().await;
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
        while let Ok(count @ 1..) = self.from.try_read(&mut piece) {
            self.hear(&piece[..count]).await;
        }
        self.record.write().await;
    }

    async fn hear(&mut self, bytes: &[u8]) {
        self.record.take(bytes).await;
        self.line.print(bytes);
    }

    /// Turns the line back to the ring, and reads what was said before.
    async fn give_back(&mut self) {
        let id = self.machine.id;
        match self.machine.talk(async |qmp| console::to_ring(qmp).await).await {
            Ok(()) => {
                self.machine.hypervisor.lines().note_settled(id);
                let mut piece = vec![0; PIECE];
                // The monitor has closed its end.
                while let Ok(count @ 1..) = self.from.read(&mut piece).await {
                    self.hear(&piece[..count]).await;
                }
            }
            Err(error) => {
                // Whoever looks at the monitor next turns it back.
                tracing::debug!(vm = %id, %error, "a serial line was not turned back to its ring");
                self.hear_all().await;
            }
        }
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
