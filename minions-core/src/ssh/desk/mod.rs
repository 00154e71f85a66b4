//! `minions@`: commands for the service itself, one by one or at a prompt.
//!
//! ```text
//! mod.rs    who answers, and what a command has     session.rs  one channel: a command, a prompt, or lines
//! typed.rs  what a client has sent                  line.rs     the line that is being typed: pure
//! ```

mod line;
mod session;
mod typed;

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncWrite, AsyncWriteExt};

pub(super) use session::run;
use typed::Typed;

use crate::service::Caller;
use crate::types::KeyPrint;

/// The user name that means the service itself. No VM is called so.
pub(super) const NAME: &str = "minions";

/// Somebody who logged in, and the key that they did it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who they are.
    pub caller: Caller,
    /// Their key.
    pub key: KeyPrint,
}

/// What can be done by `ssh minions@host VERB…`.
///
/// # Contract
/// - Everything is done as [`Person::caller`], with no more rights than these.
/// - [`run`](Self::run) may be dropped at any await: its client has left, or typed Ctrl-C.
#[async_trait]
pub trait Commands: fmt::Debug + Send + Sync + 'static {
    /// Runs a command, and returns its exit status. The words were split as a shell does, which expanded nothing in them.
    async fn run(&self, person: &Person, words: Vec<String>, io: &mut CommandIo) -> u8;

    /// What a word may be that begins so and stands behind these others; whole words.
    async fn complete(&self, person: &Person, before: &[String], begins: &str) -> Vec<String>;

    /// Greets somebody at the prompt.
    async fn greet(&self, person: &Person, io: &mut CommandIo);
}

/// Commands that are shared.
pub type DynCommands = Arc<dyn Commands>;

type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// What a command reads and writes. Writes wait for the client.
pub struct CommandIo {
    stdout: Writer,
    stderr: Writer,
    typed: Typed,
    terminal: bool,
    prompts: bool,
}

impl fmt::Debug for CommandIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandIo")
            .field("terminal", &self.terminal)
            .field("prompts", &self.prompts)
            .finish_non_exhaustive()
    }
}

impl CommandIo {
    /// How wide the client's terminal is, where it has one.
    #[must_use]
    pub fn columns(&self) -> Option<u16> {
        self.typed.columns().filter(|_| self.terminal)
    }

    /// Whether somebody can be asked.
    #[must_use]
    pub fn prompts(&self) -> bool {
        self.prompts
    }

    /// Writes data: lines that end with a line feed.
    ///
    /// # Errors
    /// Where the client is gone.
    pub async fn print(&mut self, text: &[u8]) -> io::Result<()> {
        write(&mut self.stdout, text, self.terminal).await
    }

    /// Writes what is no data: likewise.
    ///
    /// # Errors
    /// Where the client is gone.
    pub async fn complain(&mut self, text: &[u8]) -> io::Result<()> {
        // A terminal has one screen.
        let to = if self.terminal { &mut self.stdout } else { &mut self.stderr };
        write(to, text, self.terminal).await
    }

    /// Everything that the client sends until it has no more; `None` where there is no end of it.
    pub async fn input(&mut self) -> Option<Vec<u8>> {
        self.typed.all().await
    }

    /// Asks somebody. `None` where nobody answers.
    ///
    /// # Errors
    /// Where the client is gone.
    pub async fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        match self.prompts {
            true => session::answer(self, question).await,
            false => Ok(None),
        }
    }
}

async fn write(to: &mut Writer, text: &[u8], returns: bool) -> io::Result<()> {
    if returns {
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(line) => to.write_all(&[line, b"\r\n"].concat()).await?,
                None => to.write_all(part).await?,
            }
        }
    } else {
        to.write_all(text).await?;
    }
    to.flush().await
}
