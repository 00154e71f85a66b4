//! `minions exec`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use bytes::Bytes;
use minions_core::api::guest::{ExecRequest, GuestCall, Signal, TerminalFilter, Tty, TtySize};
use minions_core::config::Environment;
use minions_core::error::{Error, Result};
use minions_core::guest::client::{ExecEnd, ExecInput, ExecItem, ExecOutput, exec};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::signals::Signals;
use super::terminal::{self, Raw};
use crate::cli::Exec;
use crate::client::Client;
use crate::output::{Failure, Outcome};

/// Bytes of stdin that are read at a time.
const PIECE: usize = 64 << 10;

/// So many Ctrl-C in a row, and whoever typed them wants out, whatever the guest does.
const OUT: u32 = 3;

pub async fn run(client: &Client, args: Exec, environment: &Environment) -> Outcome {
    let (typed, watched) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let tty = args.tty || !args.no_tty && !args.no_stdin && typed && watched;
    // What cannot be asked is bad usage, as with every other verb: exec has not begun.
    let request = request(&args, tty, environment).map_err(|error| {
        let code = error.kind().exit_code();
        Failure::Error(error, Some(code))
    })?;
    let mut signals = Signals::listen()?;
    let call = GuestCall::Exec(request);
    let io = tokio::select! {
        io = client.plane.open(&client.caller, &args.one.vm, &call) => io?,
        signal = signals.next() => return Ok(killed(signal)),
    };
    let raw = if tty && typed { Some(Raw::enter()?) } else { None };
    let (input, output) = exec(io);
    if !args.no_stdin {
        tokio::spawn(feed(input.clone()));
    }
    // On a terminal of its own the program draws; without one it only writes, and has no business with ours.
    let screen = |watched: bool| (watched && !tty && !args.raw).then(TerminalFilter::default);
    let mut screens = Screens { stdout: screen(watched), stderr: screen(io::stderr().is_terminal()) };
    let ended = follow(input, output, &mut signals, tty, &mut screens).await;
    drop(raw);
    match ended? {
        Ended::Program(ExecEnd::Failed(error)) => {
            let code = ExecEnd::Failed(Error::new(error.kind(), "")).exit_code();
            Err(Failure::Error(error, Some(code)))
        }
        Ended::Program(end) => Ok(ExitCode::from(end.exit_code())),
        Ended::Out => Ok(killed(Signal::INT)),
        // What a program here gets whose reader has gone.
        Ended::Unread => Ok(ExitCode::from(128 + 13)),
    }
}

fn request(args: &Exec, tty: bool, environment: &Environment) -> Result<ExecRequest> {
    let argv = match args.command.as_slice() {
        [] if tty => ["sh", "-l"].map(str::to_owned).to_vec(),
        [] => return Err(Error::invalid("command", "say what to run: minions exec NAME -- CMD")),
        command => command.to_vec(),
    };
    let mut request = ExecRequest::new(argv);
    for pair in &args.env {
        let (name, value) = pair.split_once('=').ok_or_else(|| Error::invalid("env", "write it as NAME=VALUE"))?;
        request.env.insert(name.to_owned(), value.to_owned());
    }
    request.cwd.clone_from(&args.cwd);
    request.user.clone_from(&args.user);
    request.stdin = !args.no_stdin;
    if tty {
        let size = terminal::size().unwrap_or(TtySize { rows: 24, cols: 80 });
        request.tty = Some(Tty { size, term: environment.term.clone() });
    }
    request.check()?;
    Ok(request)
}

fn killed(signal: Signal) -> ExitCode {
    ExitCode::from(128u8.saturating_add(signal.0))
}

/// Stdin, to the program. It ends with the program: what is left unread was not for it.
async fn feed(input: ExecInput) -> Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut piece = vec![0; PIECE];
    loop {
        match stdin.read(&mut piece).await {
            Ok(0) => return input.close().await,
            Ok(count) => input.write(Bytes::copy_from_slice(&piece[..count])).await?,
            // A stdin that cannot be read is one that has ended.
            Err(_) => return input.close().await,
        }
    }
}

enum Ended {
    Program(ExecEnd),
    Out,
    Unread,
}

/// What stands between a program's output and a terminal here; nothing where there is none, or where it shall not.
struct Screens {
    stdout: Option<TerminalFilter>,
    stderr: Option<TerminalFilter>,
}

impl Screens {
    fn pass(screen: &mut Option<TerminalFilter>, bytes: Bytes) -> Bytes {
        let Some(filter) = screen else { return bytes };
        let mut safe = String::with_capacity(bytes.len());
        filter.push(&bytes, &mut safe);
        safe.into()
    }
}

async fn follow(
    input: ExecInput,
    mut output: ExecOutput,
    signals: &mut Signals,
    tty: bool,
    screens: &mut Screens,
) -> Result<Ended, Failure> {
    let mut window = signal(SignalKind::window_change())?;
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let mut interrupts = 0;
    loop {
        let item = tokio::select! {
            item = output.next() => item?,
            signal = signals.next() => {
                interrupts += u32::from(signal == Signal::INT);
                if interrupts >= OUT {
                    return Ok(Ended::Out);
                }
                send(input.signal(signal).await)?;
                continue;
            }
            _ = window.recv(), if tty => {
                if let Some(size) = terminal::size() {
                    send(input.resize(size).await)?;
                }
                continue;
            }
        };
        let written = match item {
            Some(ExecItem::Stdout(bytes)) => write(&mut stdout, &Screens::pass(&mut screens.stdout, bytes)).await,
            Some(ExecItem::Stderr(bytes)) => write(&mut stderr, &Screens::pass(&mut screens.stderr, bytes)).await,
            Some(ExecItem::Started { .. }) => Ok(()),
            Some(ExecItem::End(end)) => return Ok(Ended::Program(end)),
            None => return Err(Error::internal("the session ended without an end").into()),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Ended::Unread),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A program that has just ended takes no more signals, and needs none.
fn send(sent: Result<()>) -> Result<()> {
    match sent {
        Err(error) if error.reason() == Some("exec_ended") => Ok(()),
        sent => sent,
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}
