//! The serial line of a simulated monitor.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::hypervisor::{ConsoleBox, Line};

/// Bytes of the log: beyond twice as many, the older half is forgotten.
const KEPT: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Serial {
    log: Vec<u8>,
    line: Line,
    /// What is typed, until somebody in the guest reads it.
    typed: Option<mpsc::Receiver<Bytes>>,
    /// Who reads what is typed.
    pub shell: Option<AbortHandle>,
}

impl Default for Serial {
    fn default() -> Self {
        let (line, typed) = Line::new();
        Self { log: Vec::new(), line, typed: Some(typed), shell: None }
    }
}

impl Serial {
    pub fn print(&mut self, bytes: &[u8]) {
        self.log.extend_from_slice(bytes);
        if self.log.len() > 2 * KEPT {
            self.log.drain(..self.log.len() - KEPT);
        }
        self.line.print(bytes);
    }

    /// The end of the log.
    pub fn tail(&self, max: usize) -> &[u8] {
        &self.log[self.log.len().saturating_sub(max)..]
    }

    /// Somebody more on the line. To the first comes what is typed, for the guest to read it.
    pub fn attach(&mut self, tail: usize) -> (ConsoleBox, Option<mpsc::Receiver<Bytes>>) {
        let from = self.log.len().saturating_sub(tail);
        (self.line.attach(&self.log[from..]), self.typed.take())
    }
}
