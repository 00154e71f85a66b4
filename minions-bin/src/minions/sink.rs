//! Where output goes: to the process's own streams, or to a sheet that somebody else takes away.

use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::inside::terminal;

/// Most bytes that wait on a sheet: more than anything that a verb prints in one go.
const MOST: usize = 8 << 20;

/// Bytes of what is written together.
const TOGETHER: usize = 16 << 10;

/// Where lines go.
#[derive(Clone, Debug)]
pub enum Sink {
    /// The process's stdout and stderr.
    Process,
    /// Nothing of the process's own.
    Sheet(Arc<Sheet>),
}

/// What was written and not yet taken, in its order.
#[derive(Debug)]
pub struct Sheet {
    state: Mutex<State>,
    written: Notify,
    columns: Option<u16>,
    asks: bool,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

/// Something on a sheet.
#[derive(Debug)]
pub enum Piece {
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// A question, and who wants the answer.
    Question(String, oneshot::Sender<String>),
}

impl Sheet {
    /// For a terminal so wide, if there is one; with somebody who can be asked or not.
    pub fn new(columns: Option<u16>, asks: bool) -> Self {
        Self { state: Mutex::default(), written: Notify::new(), columns, asks }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes next, where there is something.
    pub fn take(&self) -> Option<Piece> {
        let mut state = self.lock();
        let piece = state.pieces.pop_front();
        if let Some(Piece::Out(bytes) | Piece::Err(bytes)) = &piece {
            state.bytes -= bytes.len();
        }
        piece
    }

    /// Until something was written.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    fn put(&self, piece: Piece) -> io::Result<()> {
        let mut state = self.lock();
        if let Piece::Out(bytes) | Piece::Err(bytes) = &piece {
            if state.bytes + bytes.len() > MOST {
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, "that is more than can be shown here"));
            }
            state.bytes += bytes.len();
        }
        match (state.pieces.back_mut(), piece) {
            // What goes the same way goes together.
            (Some(Piece::Out(last)), Piece::Out(more)) | (Some(Piece::Err(last)), Piece::Err(more))
                if last.len() < TOGETHER =>
            {
                last.extend(more);
            }
            (_, piece) => state.pieces.push_back(piece),
        }
        drop(state);
        self.written.notify_one();
        Ok(())
    }
}

impl Sink {
    /// A line of data.
    pub fn out(&self, text: &str) -> io::Result<()> {
        match self {
            Self::Process => line(&mut io::stdout().lock(), text),
            Self::Sheet(sheet) => sheet.put(Piece::Out(format!("{text}\n").into_bytes())),
        }
    }

    /// A line that is no data.
    pub fn err(&self, text: &str) -> io::Result<()> {
        match self {
            Self::Process => line(&mut io::stderr().lock(), text),
            Self::Sheet(sheet) => sheet.put(Piece::Err(format!("{text}\n").into_bytes())),
        }
    }

    /// How wide the reader's terminal is, where there is one.
    pub fn columns(&self) -> Option<usize> {
        match self {
            Self::Process => terminal::size().map(|size| usize::from(size.cols)),
            Self::Sheet(sheet) => sheet.columns.map(usize::from),
        }
    }

    /// Whether a person can be asked.
    pub fn asks(&self) -> bool {
        match self {
            Self::Process => io::stdin().is_terminal() && io::stderr().is_terminal(),
            Self::Sheet(sheet) => sheet.asks,
        }
    }

    /// What somebody answers; nothing where nobody does.
    pub async fn ask(&self, question: String) -> io::Result<String> {
        match self {
            Self::Process => {
                let answer = tokio::task::spawn_blocking(move || {
                    io::stderr().write_all(question.as_bytes())?;
                    io::stderr().flush()?;
                    let mut answer = String::new();
                    io::stdin().lock().read_line(&mut answer).map(|_| answer)
                });
                answer.await.map_err(io::Error::other)?
            }
            Self::Sheet(sheet) => {
                let (tell, told) = oneshot::channel();
                sheet.put(Piece::Question(question, tell))?;
                Ok(told.await.unwrap_or_default())
            }
        }
    }

    /// Until whoever waits has had enough. Who takes a sheet away ends the verb by themselves.
    pub async fn interrupted(&self) -> io::Result<()> {
        match self {
            Self::Process => tokio::signal::ctrl_c().await,
            Self::Sheet(_) => std::future::pending().await,
        }
    }
}

fn line(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.write_all(b"\n")?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sheet_holds_so_much_in_its_order_and_more_when_it_is_taken_away() {
        let sheet = Arc::new(Sheet::new(Some(80), false));
        let sink = Sink::Sheet(sheet.clone());
        for (out, err) in [("a", "b"), ("c", "d")] {
            sink.out(out).unwrap();
            sink.err(err).unwrap();
        }
        for wanted in ["a\n", "b\n", "c\n", "d\n"] {
            let (Some(Piece::Out(bytes)) | Some(Piece::Err(bytes))) = sheet.take() else { panic!("nothing") };
            assert_eq!(bytes, wanted.as_bytes());
        }
        let line = "x".repeat(1 << 20);
        let lines = (0..100).take_while(|_| sink.out(&line).is_ok()).count();
        assert!((6..9).contains(&lines), "{lines} MiB");
        while sheet.take().is_some() {}
        sink.out(&line).unwrap();
        assert_eq!(sheet.lock().bytes, line.len() + 1);
        assert!(!sink.asks() && sink.columns() == Some(80));
    }
}
