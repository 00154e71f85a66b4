//! A simulated shell and the processes that it starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Machine;
use super::fs::normal;
use super::input::Input;
use super::output::Output;
use super::programs;
use super::script::{Command, Piece, Redirect, When, Word, parse};
use crate::api::guest::TtySize;
use crate::error::Error;
use crate::memory::blob::Blob;
use crate::memory::tree::Entry;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Status(u8),
    /// The shell that ran it shall end with this status.
    Exit(u8),
    Signal(u8),
}

impl Ended {
    /// What `$?` says of it.
    pub fn status(self) -> u8 {
        match self {
            Self::Status(status) | Self::Exit(status) => status,
            Self::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// The streams of a program.
pub(super) struct Streams {
    pub stdin: Input,
    pub stdout: Output,
    pub stderr: Output,
}

/// What a program inherits, and a shell changes.
pub(super) struct Shell {
    pub machine: Machine,
    pub env: BTreeMap<String, String>,
    /// What is assigned and not exported.
    pub variables: BTreeMap<String, String>,
    pub cwd: String,
    pub user: String,
    pub pid: u32,
    pub status: u8,
    /// Its script's name and arguments.
    pub arguments: Vec<String>,
    /// The size of its terminal, where it has one.
    pub terminal: Option<Arc<Mutex<TtySize>>>,
    /// Ctrl-C for whatever an interactive shell runs.
    pub interrupt: Arc<Notify>,
}

impl Shell {
    pub fn path(&self, path: &str) -> String {
        normal(&self.cwd, path)
    }

    pub fn terminal_size(&self) -> Option<TtySize> {
        self.terminal.as_ref().map(|size| *size.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs one program with its arguments.
    pub async fn run(&mut self, argv: &[String], streams: &mut Streams) -> Ended {
        Box::pin(programs::run(self, argv, streams)).await
    }

    /// Runs a script.
    pub async fn script(&mut self, text: &str, streams: &mut Streams) -> Ended {
        let commands = match parse(text) {
            Ok(commands) => commands,
            Err(message) => return say(streams, &format!("sh: {message}"), 2).await,
        };
        for command in commands {
            let due = match command.when {
                When::Always => true,
                When::And => self.status == 0,
                When::Or => self.status != 0,
            };
            if !due {
                continue;
            }
            match self.command(&command, streams).await {
                Ended::Status(status) => self.status = status,
                ended @ (Ended::Exit(_) | Ended::Signal(_)) => return ended,
            }
        }
        Ended::Status(self.status)
    }

    /// Reads commands from stdin, line by line, until it ends or one of them says so.
    pub async fn interactive(&mut self, streams: &mut Streams) -> Ended {
        let prompts = self.terminal.is_some();
        loop {
            if prompts {
                let prompt = format!("{}:{}# ", self.machine.hostname().unwrap_or_default(), show(&self.cwd));
                if streams.stdout.write(prompt).await.is_err() {
                    return Ended::Signal(13);
                }
            }
            let Some(line) = streams.stdin.line().await else { return Ended::Status(self.status) };
            let line = String::from_utf8_lossy(&line).into_owned();
            let interrupt = self.interrupt.clone();
            let ended = tokio::select! {
                ended = self.script(&line, streams) => ended,
                () = interrupt.notified(), if prompts => Ended::Status(130),
            };
            match ended {
                Ended::Status(status) => self.status = status,
                Ended::Exit(status) => return Ended::Status(status),
                ended @ Ended::Signal(_) => return ended,
            }
        }
    }

    async fn command(&mut self, command: &Command, streams: &mut Streams) -> Ended {
        let mut words: Vec<String> = command.words.iter().map(|word| self.expand(word)).collect();
        let given = words.iter().take_while(|word| assignment(word).is_some()).count();
        let assigned: Vec<String> = words.drain(..given).collect();
        let assigned = assigned.iter().filter_map(|word| assignment(word));
        if words.is_empty() {
            for (name, value) in assigned {
                let exported = self.env.contains_key(name);
                let known = if exported { &mut self.env } else { &mut self.variables };
                known.insert(name.to_owned(), value.to_owned());
            }
            return self.redirected(command, &words, streams).await;
        }
        let before = (given > 0).then(|| self.env.clone());
        if before.is_some() {
            self.env.extend(assigned.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let ended = self.redirected(command, &words, streams).await;
        if let Some(before) = before {
            self.env = before;
        }
        ended
    }

    async fn redirected(&mut self, command: &Command, words: &[String], streams: &mut Streams) -> Ended {
        let (stdout, stderr) = (streams.stdout.clone(), streams.stderr.clone());
        let mut stdin = None;
        let mut failed = None;
        for redirect in &command.redirects {
            let opened = match redirect {
                Redirect::ErrToOut => {
                    streams.stderr = streams.stdout.clone();
                    Ok(())
                }
                Redirect::OutToErr => {
                    streams.stdout = streams.stderr.clone();
                    Ok(())
                }
                Redirect::In(from) => {
                    let path = self.path(&self.expand(from));
                    self.open(&path).map(|input| {
                        let old = std::mem::replace(&mut streams.stdin, input);
                        stdin.get_or_insert(old);
                    })
                }
                Redirect::Out { stderr, append, to } => {
                    let path = self.path(&self.expand(to));
                    self.create(&path, *append).map(|output| {
                        *(if *stderr { &mut streams.stderr } else { &mut streams.stdout }) = output;
                    })
                }
            };
            if let Err(error) = opened {
                failed = Some(error);
                break;
            }
        }
        let ended = match failed {
            Some(error) => {
                streams.stderr = stderr.clone();
                say(streams, &format!("sh: {}", error.message()), 1).await
            }
            None if words.is_empty() => Ended::Status(0),
            // What a signal does to a child, its shell only hears of. Its own end it brings about itself.
            None => match self.run(words, streams).await {
                ended @ Ended::Signal(_) if words[0] != "kill" => Ended::Status(ended.status()),
                ended => ended,
            },
        };
        (streams.stdout, streams.stderr) = (stdout, stderr);
        if let Some(stdin) = stdin {
            streams.stdin = stdin;
        }
        ended
    }

    /// Opens a file, or one of the devices that programs read.
    pub fn open(&self, path: &str) -> Result<Input, Error> {
        Ok(match path {
            "/dev/null" => Input::Empty,
            "/dev/zero" => Input::Zero,
            "/dev/urandom" | "/dev/random" => Input::Noise(0x9e37_79b9_7f4a_7c15),
            path => Input::File { blob: self.machine.disks(|disks| disks.content(path))?, at: 0 },
        })
    }

    /// Opens a file for writing, made or emptied first unless it is added to.
    fn create(&self, path: &str, append: bool) -> Result<Output, Error> {
        if path == "/dev/null" {
            return Ok(Output::Null);
        }
        self.machine.disks(|disks| {
            let mode = disks.info(path, true).ok().map(|old| old.mode);
            if mode.is_none() || !append {
                let mut entry = Entry::file(Blob::default(), disks.now());
                entry.mode = mode.unwrap_or(entry.mode);
                disks.put(path, entry, false)?;
            }
            Ok(())
        })?;
        Ok(Output::File { machine: self.machine.clone(), path: path.to_owned() })
    }

    fn expand(&self, word: &Word) -> String {
        let expand = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => match name.as_str() {
                "?" => self.status.to_string(),
                "$" => self.pid.to_string(),
                "#" => self.arguments.len().saturating_sub(1).to_string(),
                name => match name.parse::<usize>() {
                    Ok(place) => self.arguments.get(place).cloned().unwrap_or_default(),
                    Err(_) => self.env.get(name).or_else(|| self.variables.get(name)).cloned().unwrap_or_default(),
                },
            },
        };
        word.iter().map(expand).collect()
    }
}

/// `NAME=value`, where that is what a word is.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let good = !name.is_empty()
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    good.then_some((name, value))
}

/// A path as people know it.
pub(super) fn show(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Says on stderr what went wrong.
pub(super) async fn say(streams: &mut Streams, message: &str, status: u8) -> Ended {
    // Where nobody hears it, the status says enough.
    let _ = streams.stderr.write(format!("{message}\n")).await;
    Ended::Status(status)
}
