//! A guest's serial line while people are attached to it: what an implementation of the port keeps, and what it hands out.
//!
//! [`Line`] is the keeper's end: whatever it prints reaches everybody who is attached. Each of them holds at most
//! [`HELD`] bytes that were not read yet; one who is further behind loses the oldest, and finds a mark in their place.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{self, OwnedPermit, error::SendError};
use tokio::sync::{Notify, futures::OwnedNotified};

/// Bytes that wait for one who is attached, behind the end of the log that it began with.
pub const HELD: usize = 256 << 10;

/// Pieces of typing that wait for the guest, and the largest of them.
const TYPED: usize = 16;
const PIECE: usize = 4 << 10;

/// A byte stream from and to a guest's serial line.
pub trait ConsoleIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ConsoleIo for T {}

/// A boxed [`ConsoleIo`].
pub type ConsoleBox = Box<dyn ConsoleIo>;

/// The keeper's end of a serial line. When it is dropped, everybody who is attached comes to the end of the stream.
#[derive(Debug)]
pub struct Line {
    attached: Vec<Arc<Ear>>,
    keys: mpsc::Sender<Bytes>,
    left: Arc<Notify>,
}

impl Line {
    /// A line to which nobody is attached, and what will be typed on it.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (keys, typed) = mpsc::channel(TYPED);
        (Self { attached: Vec::new(), keys, left: Arc::default() }, typed)
    }

    /// Somebody more, who reads this first.
    pub fn attach(&mut self, first: &[u8]) -> ConsoleBox {
        let most = first.len().saturating_add(HELD);
        let heard =
            Heard { bytes: first.iter().copied().collect(), most, lost: 0, ended: false, gone: false, waker: None };
        let ear = Arc::new(Ear(Mutex::new(heard)));
        self.attached.push(ear.clone());
        Box::new(Console {
            ear,
            mark: VecDeque::new(),
            keys: Some(self.keys.clone()),
            room: None,
            left: self.left.clone(),
        })
    }

    /// What the guest has printed, to everybody. Never waits for anybody.
    pub fn print(&mut self, bytes: &[u8]) {
        self.attached.retain(|ear| ear.hear(bytes));
    }

    /// Whether nobody is attached.
    pub fn is_idle(&mut self) -> bool {
        self.attached.retain(|ear| !ear.heard().gone);
        self.attached.is_empty()
    }

    /// Ends when somebody has left since this was last asked.
    pub fn somebody_leaves(&self) -> OwnedNotified {
        self.left.clone().notified_owned()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for ear in &self.attached {
            let mut heard = ear.heard();
            heard.ended = true;
            heard.wake();
        }
    }
}

/// What one who is attached has not read yet.
#[derive(Debug)]
struct Ear(Mutex<Heard>);

#[derive(Debug)]
struct Heard {
    bytes: VecDeque<u8>,
    most: usize,
    /// How many bytes were left out before the ones that are here.
    lost: u64,
    ended: bool,
    gone: bool,
    waker: Option<Waker>,
}

impl Ear {
    /// Never held across an await.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody still listens.
    fn hear(&self, bytes: &[u8]) -> bool {
        let mut heard = self.heard();
        if heard.gone {
            return false;
        }
        heard.bytes.extend(bytes);
        let over = heard.bytes.len().saturating_sub(heard.most);
        heard.bytes.drain(..over);
        heard.lost += u64::try_from(over).unwrap_or(u64::MAX);
        heard.wake();
        true
    }
}

impl Heard {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

type Room = Pin<Box<dyn Future<Output = Result<OwnedPermit<Bytes>, SendError<()>>> + Send>>;

/// What is handed out.
struct Console {
    ear: Arc<Ear>,
    /// The rest of a mark that tells how much was left out.
    mark: VecDeque<u8>,
    /// `None` once the writer has closed.
    keys: Option<mpsc::Sender<Bytes>>,
    /// A place for the next piece of typing, on its way.
    room: Option<Room>,
    left: Arc<Notify>,
}

fn take(from: &mut VecDeque<u8>, to: &mut ReadBuf<'_>) {
    let count = from.as_slices().0.len().min(to.remaining());
    to.put_slice(&from.as_slices().0[..count]);
    from.drain(..count);
}

impl AsyncRead for Console {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ear = self.ear.clone();
        let mut heard = ear.heard();
        if heard.lost > 0 {
            let lost = std::mem::take(&mut heard.lost);
            let mark = format!("\r\n[minions: {lost} bytes are missing here, nobody read them in time]\r\n");
            self.mark.extend(mark.into_bytes());
        }
        if !self.mark.is_empty() {
            take(&mut self.mark, to);
        } else if !heard.bytes.is_empty() {
            take(&mut heard.bytes, to);
        } else if !heard.ended {
            heard.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Console {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let over = || io::Error::new(io::ErrorKind::BrokenPipe, "the guest's serial line is gone");
        let keys = self.keys.clone().filter(|_| !self.ear.heard().ended).ok_or_else(over)?;
        if from.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = self.room.get_or_insert_with(|| Box::pin(keys.reserve_owned()));
        let place = ready!(room.as_mut().poll(cx));
        self.room = None;
        let count = from.len().min(PIECE);
        place.map_err(|_| over())?.send(Bytes::copy_from_slice(&from[..count]));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A serial line has no end of file: whoever stops to type goes on to listen.
        (self.keys, self.room) = (None, None);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.ear.heard().gone = true;
        self.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn everybody_who_is_attached_hears_everything_and_the_end() {
        let (mut line, _typed) = Line::new();
        let mut one = line.attach(b"the log, ");
        line.print(b"a");
        let mut other = line.attach(b"");
        line.print(b"b");
        drop(line);
        for (console, heard) in [(&mut one, "the log, ab"), (&mut other, "b")] {
            let mut text = String::new();
            console.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, heard);
            assert!(console.write_all(b"x").await.is_err(), "there is nobody to type to");
        }
    }

    #[tokio::test]
    async fn load_11_one_who_does_not_read_costs_a_bounded_amount_and_is_told_what_is_missing() {
        let (mut line, _typed) = Line::new();
        let (mut slow, mut quick) = (line.attach(b"first"), line.attach(b""));
        let piece = vec![b'x'; HELD / 2];
        let mut read = vec![0; HELD / 2];
        for _ in 0..100 {
            line.print(&piece);
            quick.read_exact(&mut read).await.unwrap();
        }
        line.print(b"the end");
        assert!(line.attached.iter().all(|ear| ear.heard().bytes.len() <= HELD + 5));
        drop(line);
        let mut text = String::new();
        slow.read_to_string(&mut text).await.unwrap();
        let lost = 100 * HELD / 2 + "the end".len() - HELD;
        assert!(text.starts_with(&format!("\r\n[minions: {lost} bytes are missing here")), "{}", &text[..80]);
        assert!(text.ends_with("xthe end"));
        text.clear();
        quick.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "the end");
    }

    #[tokio::test]
    async fn typing_waits_for_a_guest_that_does_not_read_and_whoever_leaves_is_forgotten() {
        let (mut line, mut typed) = Line::new();
        let mut console = line.attach(b"");
        let all = vec![b'k'; PIECE * (TYPED + 1)];
        let writing = tokio::time::timeout(std::time::Duration::from_millis(20), console.write_all(&all));
        assert!(writing.await.is_err(), "the guest takes nothing");
        assert_eq!(typed.recv().await.unwrap().len(), PIECE);
        console.write_all(b"q").await.unwrap();
        assert!(!line.is_idle());
        let leaves = line.somebody_leaves();
        drop(console);
        leaves.await;
        assert!(line.is_idle());
    }
}
