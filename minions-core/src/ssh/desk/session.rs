//! One channel: a command, a prompt, or lines.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, Sig};

use super::line::{Act, Line};
use super::typed::{Next, Typed};
use super::{CommandIo, DynCommands, Person};
use crate::api::guest::{TtySize, sanitize_line};
use crate::ssh::program::size;

/// What stands before the line.
const PROMPT: &str = "minions> ";

/// Exit status of what Ctrl-C ended, and of what could not be understood.
const INTERRUPTED: u8 = 130;
const MISUSED: u8 = 2;

/// How long a completion may take, and how many are shown.
const COMPLETION: Duration = Duration::from_secs(2);
const SHOWN: usize = 100;

const USAGE: &[u8] = b"say what to do, as in: ssh minions@HOST help\n";

/// Runs a command, or whatever is typed, until it ends or the client is gone.
pub(in crate::ssh) async fn run(
    commands: DynCommands,
    person: Arc<Person>,
    size: Option<TtySize>,
    command: Option<String>,
    channel: Channel<Msg>,
    handle: Handle,
) {
    let id = channel.id();
    let (read, write) = channel.split();
    let (typed, terminal) = (Typed::default(), size.is_some());
    typed.resize(size.map_or(0, |size| size.cols));
    let (stdout, stderr) = (Box::new(write.make_writer()), Box::new(write.make_writer_ext(Some(1))));
    let io = CommandIo { stdout, stderr, typed: typed.clone(), terminal, prompts: false };
    let mut desk = Desk { commands, person, read, typed, io };
    let ended = match command {
        Some(command) => desk.one(&command).await,
        None if terminal => desk.prompt().await,
        None => desk.lines().await,
    };
    match ended {
        Ok(status) => {
            let said = handle.exit_status_request(id, u32::from(status)).await;
            if said.is_ok() && write.eof().await.is_ok() && write.close().await.is_ok() {
                return;
            }
            tracing::debug!("a client left before it was told how a command had ended");
        }
        Err(Gone) => tracing::debug!("a client closed a channel"),
    }
}

/// The client is.
struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// What ends what runs.
enum End {
    Gone,
    Interrupted,
}

struct Desk {
    commands: DynCommands,
    person: Arc<Person>,
    read: ChannelReadHalf,
    typed: Typed,
    io: CommandIo,
}

impl Desk {
    /// Runs one command. What comes meanwhile is kept for whoever reads it.
    async fn one(&mut self, text: &str) -> Result<u8, Gone> {
        let Some(words) = shlex::split(text) else {
            self.io.complain(b"error: a quote is not closed\n").await?;
            return Ok(MISUSED);
        };
        let terminal = self.io.terminal;
        let ended = tokio::select! {
            status = self.commands.run(&self.person, words, &mut self.io) => Ok(status),
            end = watch(&mut self.read, &self.typed, terminal) => Err(end),
        };
        match ended {
            Ok(status) => Ok(status),
            Err(End::Gone) => Err(Gone),
            Err(End::Interrupted) => {
                if terminal {
                    self.io.print(b"^C\n").await?;
                }
                Ok(INTERRUPTED)
            }
        }
    }

    /// Each line is a command. The status is the last one's.
    async fn lines(&mut self) -> Result<u8, Gone> {
        let (mut status, mut any) = (0, false);
        loop {
            let next = tokio::select! {
                next = self.typed.line() => next,
                end = watch(&mut self.read, &self.typed, false) => match end {
                    End::Gone => return Err(Gone),
                    End::Interrupted => return Ok(INTERRUPTED),
                },
            };
            let line = match next {
                Next::Line(line) => String::from_utf8_lossy(&line).trim().to_owned(),
                Next::End if any => return Ok(status),
                Next::End => {
                    self.io.complain(USAGE).await?;
                    return Ok(MISUSED);
                }
                Next::TooMuch => {
                    self.io.complain(b"error: that is too much at a time\n").await?;
                    return Ok(MISUSED);
                }
            };
            any = true;
            match line.as_str() {
                "exit" | "quit" | "logout" => return Ok(status),
                "" => {}
                line if line.starts_with('#') => {}
                line => status = self.one(line).await?,
            }
        }
    }

    /// A prompt, until somebody has had enough.
    async fn prompt(&mut self) -> Result<u8, Gone> {
        self.io.prompts = true;
        tokio::select! {
            () = self.commands.greet(&self.person, &mut self.io) => {}
            end = watch(&mut self.read, &self.typed, true) => {
                if matches!(end, End::Gone) {
                    return Err(Gone);
                }
            }
        }
        let (mut line, mut status) = (Line::default(), 0);
        loop {
            let completer = Some((&self.commands, &*self.person));
            let said = tokio::select! {
                said = edit(&mut line, &mut self.io, PROMPT, completer) => said?,
                _end = watch(&mut self.read, &self.typed, false) => return Err(Gone),
            };
            let Some(text) = said else {
                self.io.print(b"\n").await?;
                return Ok(status);
            };
            match text.trim() {
                "exit" | "quit" | "logout" => return Ok(status),
                "" => {}
                text => status = self.one(text).await?,
            }
        }
    }
}

/// Keeps what comes, until something ends what runs.
async fn watch(read: &mut ChannelReadHalf, typed: &Typed, interrupts: bool) -> End {
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                let interrupt = data.iter().rposition(|byte| *byte == 0x03).filter(|_| interrupts);
                let Some(at) = interrupt else {
                    typed.push(&data);
                    continue;
                };
                // As at any terminal: what was typed ahead goes, too.
                typed.clear();
                typed.push(&data[at + 1..]);
                return End::Interrupted;
            }
            ChannelMsg::Eof => typed.end(),
            ChannelMsg::WindowChange { col_width, row_height, .. } => typed.resize(size(col_width, row_height).cols),
            ChannelMsg::Signal { signal: Sig::INT | Sig::TERM | Sig::HUP | Sig::QUIT | Sig::KILL } if interrupts => {
                return End::Interrupted;
            }
            ChannelMsg::Close => return End::Gone,
            _ => {}
        }
    }
    End::Gone
}

/// What somebody answers to a question, where they do.
pub(super) async fn answer(io: &mut CommandIo, question: &str) -> io::Result<Option<String>> {
    edit(&mut Line::default(), io, &sanitize_line(question, 500), None).await
}

/// Lets somebody type a line, at most. `None` where there is nothing more to type it.
async fn edit(
    line: &mut Line,
    io: &mut CommandIo,
    prompt: &str,
    completer: Option<(&DynCommands, &Person)>,
) -> io::Result<Option<String>> {
    let columns = |io: &CommandIo| usize::from(io.columns().unwrap_or(80));
    io.print(line.draw(prompt, columns(io)).as_bytes()).await?;
    loop {
        let bytes = io.typed.some().await;
        if bytes.is_empty() {
            return Ok(None);
        }
        for (at, byte) in bytes.iter().enumerate() {
            match line.press(*byte) {
                None => {}
                Some(Act::Enter(text)) => {
                    io.typed.unread(&bytes[at + 1..]);
                    io.print(format!("\r{prompt}{}\u{1b}[K\n", fit(&text, columns(io), prompt)).as_bytes()).await?;
                    return Ok(Some(text));
                }
                Some(Act::Interrupt) => {
                    io.print(b"^C\n").await?;
                    if completer.is_none() {
                        return Ok(None);
                    }
                }
                Some(Act::End) => return Ok(None),
                Some(Act::Clear) => io.print(b"\x1b[H\x1b[2J").await?,
                Some(Act::Bell) => io.print(b"\x07").await?,
                Some(Act::Complete(before, again)) => match completer {
                    Some((commands, person)) => complete(line, io, commands, person, &before, again).await?,
                    None => io.print(b"\x07").await?,
                },
            }
        }
        io.print(line.draw(prompt, columns(io)).as_bytes()).await?;
    }
}

/// The part of a line that fits beside its prompt.
fn fit(text: &str, columns: usize, prompt: &str) -> String {
    text.chars().take(columns.saturating_sub(prompt.chars().count() + 1).max(8)).collect()
}

/// Puts in what the word under the cursor can only become, or shows what it may.
async fn complete(
    line: &mut Line,
    io: &mut CommandIo,
    commands: &DynCommands,
    person: &Person,
    before: &str,
    again: bool,
) -> io::Result<()> {
    let Some(mut words) = shlex::split(before) else { return io.print(b"\x07").await };
    let begun = !before.is_empty() && !before.ends_with(' ');
    let begins = if begun { words.pop().unwrap_or_default() } else { String::new() };
    let found = tokio::time::timeout(COMPLETION, commands.complete(person, &words, &begins)).await;
    let mut found = found.unwrap_or_default();
    found.retain(|word| word.starts_with(&begins) && word.bytes().all(|byte| byte.is_ascii_graphic()));
    found.sort_unstable();
    found.dedup();
    let common = common(&found);
    let mut rest = common.get(begins.len()..).unwrap_or_default().to_owned();
    if found.len() == 1 {
        rest.push(' ');
    }
    if !rest.is_empty() {
        line.complete(&rest);
        return Ok(());
    }
    if found.len() > 1 && again {
        let more = if found.len() > SHOWN { "  …" } else { "" };
        found.truncate(SHOWN);
        return io.print(format!("\n{}{more}\n", found.join("  ")).as_bytes()).await;
    }
    io.print(b"\x07").await
}

/// How far all of them are the same.
fn common(words: &[String]) -> &str {
    let Some((first, rest)) = words.split_first() else { return "" };
    let same = |word: &String| first.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
    let length = rest.iter().map(same).min().unwrap_or(first.len());
    first.get(..length).unwrap_or_default()
}
