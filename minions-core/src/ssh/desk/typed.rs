//! What a client has sent and nobody has read yet, and how wide its terminal is. Bounded: whoever sends more is told, and what came after is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Most bytes.
const MOST: usize = 128 << 10;

#[derive(Clone, Debug, Default)]
pub(super) struct Typed(Arc<(Mutex<State>, Notify)>);

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    ended: bool,
    over: bool,
    columns: u16,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A line, without its end.
    Line(Vec<u8>),
    /// Nothing any more.
    End,
    /// More came than is kept.
    TooMuch,
}

impl Typed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.bytes.len() + bytes.len() > MOST {
            state.over = true;
        } else {
            state.bytes.extend(bytes);
        }
        drop(state);
        self.0.1.notify_one();
    }

    /// The client's terminal is this wide.
    pub(super) fn resize(&self, columns: u16) {
        self.lock().columns = columns;
    }

    /// How wide the client's terminal is, where that is known.
    pub(super) fn columns(&self) -> Option<u16> {
        Some(self.lock().columns).filter(|columns| *columns > 0)
    }

    /// Forgets what nobody has read.
    pub(super) fn clear(&self) {
        self.lock().bytes.clear();
    }

    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.0.1.notify_one();
    }

    async fn wait<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            if let Some(taken) = take(&mut self.lock()) {
                return taken;
            }
            // One who pushes between leaves a permit.
            self.0.1.notified().await;
        }
    }

    /// What there is, at least one byte; empty at the end. Cancel-safe.
    pub(super) async fn some(&self) -> Vec<u8> {
        self.wait(|state| (!state.bytes.is_empty() || state.ended).then(|| state.bytes.drain(..).collect())).await
    }

    /// Puts back what was read too far.
    pub(super) fn unread(&self, bytes: &[u8]) {
        let mut state = self.lock();
        bytes.iter().rev().for_each(|byte| state.bytes.push_front(*byte));
    }

    pub(super) async fn line(&self) -> Next {
        self.wait(|state| {
            let end = state.bytes.iter().position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    let mut line: Vec<u8> = state.bytes.drain(..=end).collect();
                    line.pop();
                    Some(Next::Line(line))
                }
                None if state.over => Some(Next::TooMuch),
                None if !state.ended => None,
                None if state.bytes.is_empty() => Some(Next::End),
                None => Some(Next::Line(state.bytes.drain(..).collect())),
            }
        })
        .await
    }

    pub(super) async fn all(&self) -> Option<Vec<u8>> {
        self.wait(|state| match state {
            State { over: true, .. } => Some(None),
            State { ended: true, bytes, .. } => Some(Some(bytes.drain(..).collect())),
            State { .. } => None,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_as_they_came_and_the_last_needs_no_end() {
        let typed = Typed::default();
        typed.push(b"one\ntw");
        typed.push(b"o\nthree");
        typed.end();
        for line in ["one", "two", "three"] {
            assert_eq!(typed.line().await, Next::Line(line.into()));
        }
        assert_eq!(typed.line().await, Next::End);
    }

    #[tokio::test]
    async fn bad_16_who_sends_without_end_is_told_so_and_fills_no_memory() {
        let typed = Typed::default();
        for _ in 0..100 {
            typed.push(&[b'x'; 32 << 10]);
        }
        assert!(typed.lock().bytes.len() <= MOST);
        assert_eq!((typed.line().await, typed.all().await), (Next::TooMuch, None));
    }
}
