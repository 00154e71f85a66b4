//! Who answers at the serial line: nobody until Enter, then a shell, and then nobody again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Machine;
use super::exec;
use super::input::{HostInput, Input};
use super::output::Output;
use super::shell::Streams;
use super::terminal::{Terminal, Typed};
use crate::api::guest::{ExecRequest, Tty, TtySize};
use crate::error::Result;
use crate::hypervisor::ConsoleBox;
use crate::memory::InMemoryHost;
use crate::memory::model::Monitor;

impl InMemoryHost {
    /// Somebody more on the line. Whoever is the first wakes the guest's end of it.
    pub(in crate::memory) fn attach(&self, monitor: &mut Monitor, tail: usize) -> ConsoleBox {
        let (console, typed) = monitor.serial.attach(tail);
        if let Some(typed) = typed {
            let machine = Machine::new(self, monitor.config.id, monitor.pid);
            monitor.serial.shell = Some(tokio::spawn(machine.answers_typing(typed)).abort_handle());
        }
        console
    }
}

impl Machine {
    pub(super) fn print(&self, bytes: &[u8]) -> Result<()> {
        self.monitor(|monitor| monitor.serial.print(bytes))
    }

    async fn answers_typing(self, mut typed: mpsc::Receiver<Bytes>) {
        let (boot, mute) = match self.with(|model| {
            let behaviour = model.behaviour(self.id);
            Ok((behaviour.boot, behaviour.mute))
        }) {
            Ok(habits) => habits,
            Err(_) => return,
        };
        if mute {
            // Takes nothing, until the machine is off.
            std::future::pending::<()>().await;
        }
        let left = |monitor: &mut Monitor| boot.saturating_sub(monitor.booted.elapsed());
        tokio::time::sleep(self.monitor(left).unwrap_or(Duration::ZERO)).await;
        let mut keyboard =
            Keyboard { machine: self.clone(), typed: &mut typed, terminal: Terminal::default(), rest: Vec::new() };
        // Both end with the machine.
        while keyboard.enter().await.is_some() && keyboard.shell().await.is_some() {}
    }
}

/// What is typed, as the terminal's driver hands it on.
struct Keyboard<'a> {
    machine: Machine,
    typed: &'a mut mpsc::Receiver<Bytes>,
    terminal: Terminal,
    /// What was typed behind the Enter that began a shell.
    rest: Vec<Typed>,
}

impl Keyboard<'_> {
    /// What the next typing led to, echoed.
    async fn next(&mut self) -> Option<Vec<Typed>> {
        let bytes = self.typed.recv().await?;
        let typed = self.terminal.typed(&bytes);
        for typed in &typed {
            if let Typed::Echo(echo) = typed {
                self.machine.print(echo).ok()?;
            }
        }
        Some(typed)
    }

    /// Until a line was ended.
    async fn enter(&mut self) -> Option<()> {
        loop {
            let typed = self.next().await?;
            if let Some(at) = typed.iter().position(|typed| matches!(typed, Typed::Line(_))) {
                self.rest = typed.into_iter().skip(at + 1).collect();
                return Some(());
            }
        }
    }

    /// A shell from its start to its end.
    async fn shell(&mut self) -> Option<()> {
        let mut request = ExecRequest::new(["sh", "-l"].map(str::to_owned).to_vec());
        request.tty = Some(Tty { size: TtySize { rows: 24, cols: 80 }, term: Some("vt102".to_owned()) });
        let mut shell = exec::shell(&self.machine, &request).ok()?;
        let (chunks, source) = mpsc::unbounded_channel();
        let outstanding = Arc::new(AtomicUsize::new(0));
        let stdin = HostInput { chunks: source, left: Bytes::new(), frames: None, outstanding: outstanding.clone() };
        let output = Output::Serial(self.machine.clone());
        let mut streams = Streams { stdin: Input::Host(stdin), stdout: output.clone(), stderr: output };
        let interrupt = shell.interrupt.clone();
        let mut chunks = Some(chunks);
        let mut hand_on = |typed: Vec<Typed>| {
            for typed in typed {
                match typed {
                    Typed::Echo(_) => {}
                    Typed::Line(line) => {
                        outstanding.fetch_add(line.len(), Ordering::Relaxed);
                        // Nobody reads once the shell is about to end.
                        let _ = chunks.as_ref().map(|chunks| chunks.send(line.into()));
                    }
                    Typed::Interrupt => interrupt.notify_waiters(),
                    Typed::End => chunks = None,
                }
            }
        };
        hand_on(std::mem::take(&mut self.rest));
        let mut running = std::pin::pin!(shell.run(&request.argv, &mut streams));
        loop {
            tokio::select! {
                biased;
                // However it ended, the next Enter begins another one.
                _ended = &mut running => break,
                typed = self.next() => hand_on(typed?),
            }
        }
        self.machine.print(b"\r\nminions: press Enter for a shell\r\n").ok()
    }
}
