//! One call, and its answer on stdout.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use minions_core::api::guest::{
    ExecRequest, GuestCall, ListRequest, Purpose, ReadFile, TerminalFilter, Tty, TtySize, WriteFile,
};
use minions_core::guest::client::{self, Download, ExecItem, Upload};
use minions_core::guest::{GuestIoBox, vsock};
use minions_core::types::AgentSecret;
use minions_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::cli::{Call, Files, Words};

/// Runs what was asked.
pub async fn run(words: Words) -> Result<ExitCode> {
    let json = words.json;
    match &words.call {
        Call::Health => {
            let (io, until) = open(&words, GuestCall::Health).await?;
            show(json, &client::health(io, until).await?.clamp())?;
        }
        Call::Status => {
            let (io, until) = open(&words, GuestCall::Status).await?;
            show(json, &client::status(io, until).await?.clamp())?;
        }
        Call::Network => {
            let (io, until) = open(&words, GuestCall::Network).await?;
            show(json, &client::network(io, until).await?.clamp())?;
        }
        Call::Exec { stdin, tty, user, cwd, env, raw, argv } => {
            let mut request = ExecRequest::new(argv.clone());
            request.stdin = *stdin;
            request.tty = tty.then(|| Tty { size: TtySize { rows: 24, cols: 80 }, term: None });
            request.user.clone_from(user);
            request.cwd.clone_from(cwd);
            for pair in env {
                let (name, value) = pair.split_once('=').ok_or_else(|| Error::invalid("env", "not NAME=VALUE"))?;
                request.env.insert(name.to_owned(), value.to_owned());
            }
            let (io, _) = open(&words, GuestCall::Exec(request)).await?;
            return exec(io, *stdin, *raw).await;
        }
        Call::Files(files) => self::files(&words, files).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A connection on which the call was sent, and when its answer is due.
async fn open(words: &Words, call: GuestCall) -> Result<(GuestIoBox, Instant)> {
    let until = Instant::now() + Duration::from_secs(words.timeout);
    let secret = secret(words)?;
    let unreachable = |error| {
        Error::new(ErrorKind::Unavailable, format!("cannot connect to {}", words.socket.display())).with_source(error)
    };
    let io: GuestIoBox = if words.plain {
        Box::new(tokio::net::UnixStream::connect(&words.socket).await.map_err(unreachable)?)
    } else {
        vsock::dial(&words.socket, words.port).await?
    };
    let (mut io, _) = client::prove(io, &secret, Purpose::Call, until).await?;
    client::begin(&mut io, &call, until).await?;
    Ok((io, until))
}

fn secret(words: &Words) -> Result<AgentSecret> {
    let path = words.secret_file.display();
    let text = std::fs::read_to_string(&words.secret_file)
        .map_err(|error| Error::invalid("secret-file", format!("cannot read {path}")).with_source(error))?;
    serde_json::from_value(text.trim().into())
        .map_err(|_| Error::invalid("secret-file", format!("{path} does not hold 64 hexadecimal digits")))
}

/// JSON of one line for programs, of many for people.
fn show(json: bool, value: &impl serde::Serialize) -> Result<()> {
    let text = if json { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    line(&text.map_err(|error| Error::internal("the answer cannot be written as JSON").with_source(error))?)
}

fn line(text: &str) -> Result<()> {
    let mut to = std::io::stdout().lock();
    let written = to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush());
    written.map_err(unwritten)
}

/// Whoever read our output and has gone is told of nothing; see [`crate::UNREAD`].
fn unwritten(error: std::io::Error) -> Error {
    let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
    let error = Error::new(ErrorKind::Unavailable, "cannot write what came").with_source(error);
    if gone { error.with_reason(crate::UNREAD) } else { error }
}

async fn exec(io: GuestIoBox, stdin: bool, raw: bool) -> Result<ExitCode> {
    let (input, mut output) = client::exec(io);
    let feeding = tokio::spawn(async move {
        let mut from = tokio::io::stdin();
        if stdin {
            loop {
                let mut piece = bytes::BytesMut::with_capacity(64 * 1024);
                match from.read_buf(&mut piece).await {
                    Ok(read) if read > 0 => input.write(piece.freeze()).await?,
                    _ => break,
                }
            }
        }
        input.close().await
    });
    let mut out = Sink::new(tokio::io::stdout(), !raw && std::io::stdout().is_terminal());
    let mut err = Sink::new(tokio::io::stderr(), !raw && std::io::stderr().is_terminal());
    let mut code = ExitCode::from(255);
    while let Some(item) = output.next().await? {
        match item {
            ExecItem::Started { .. } => {}
            ExecItem::Stdout(bytes) => out.write(&bytes).await?,
            ExecItem::Stderr(bytes) => err.write(&bytes).await?,
            ExecItem::End(end) => {
                if let client::ExecEnd::Failed(error) = &end {
                    err.write(format!("minions-vsock-cli: {}\n", error.chain()).as_bytes()).await?;
                }
                code = ExitCode::from(end.exit_code());
            }
        }
    }
    feeding.abort();
    Ok(code)
}

/// Where bytes of the guest go: made safe where it is a terminal.
struct Sink<W> {
    to: W,
    filter: Option<TerminalFilter>,
}

impl<W: tokio::io::AsyncWrite + Unpin> Sink<W> {
    fn new(to: W, terminal: bool) -> Self {
        Self { to, filter: terminal.then(TerminalFilter::default) }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.filter {
            Some(filter) => {
                let mut safe = String::new();
                filter.push(bytes, &mut safe);
                self.to.write_all(safe.as_bytes()).await
            }
            None => self.to.write_all(bytes).await,
        };
        let flushed = match written {
            Ok(()) => self.to.flush().await,
            Err(error) => Err(error),
        };
        flushed.map_err(unwritten)
    }
}

async fn files(words: &Words, files: &Files) -> Result<()> {
    let json = words.json;
    match files.call() {
        call @ GuestCall::Stat { .. } => {
            let (io, until) = open(words, call).await?;
            show(json, &client::stat(io, until).await?.clamp())?;
        }
        call @ GuestCall::List(_) => {
            let (io, until) = open(words, call).await?;
            for entry in client::list(io, until).await? {
                let entry = entry.clamp();
                if json {
                    show(true, &entry)?;
                } else {
                    line(&format!("{:06o} {:>12} {}", entry.info.mode, entry.info.size, entry.name))?;
                }
            }
        }
        call @ (GuestCall::WriteFile(_) | GuestCall::TarIn { .. }) => {
            let (io, _) = open(words, call).await?;
            let mut upload = Upload::new(io);
            let mut from = tokio::io::stdin();
            loop {
                let mut piece = bytes::BytesMut::with_capacity(256 * 1024);
                let read = from.read_buf(&mut piece).await;
                if read.map_err(|error| Error::invalid("stdin", "cannot read stdin").with_source(error))? == 0 {
                    break;
                }
                upload.write(piece.freeze()).await?;
            }
            let moved = upload.finish(Instant::now() + Duration::from_secs(words.timeout)).await?.expose();
            if json {
                show(true, &serde_json::json!({ "bytes": moved.bytes, "entries": moved.entries }))?;
            }
        }
        call => {
            let (io, until) = open(words, call).await?;
            let (mut download, _) = Download::begin(io, until).await?;
            let mut out = Sink::new(tokio::io::stdout(), std::io::stdout().is_terminal());
            while let Some(bytes) = download.next().await? {
                out.write(&bytes).await?;
            }
        }
    }
    Ok(())
}

impl Files {
    fn call(&self) -> GuestCall {
        match self.clone() {
            Self::Stat { path } => GuestCall::Stat { path },
            Self::List { path } => GuestCall::List(ListRequest { path }),
            Self::Read { path } => GuestCall::ReadFile(ReadFile { path, offset: 0, limit: None }),
            Self::Write { path } => {
                GuestCall::WriteFile(WriteFile { path, mode: None, uid: None, gid: None, parents: false })
            }
            Self::Pack { path } => GuestCall::TarOut { path },
            Self::Unpack { dest } => GuestCall::TarIn { dest },
        }
    }
}
