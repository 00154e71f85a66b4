//! `minions console`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use minions_core::api::guest::Signal;
use minions_core::error::{Error, ErrorKind};
use minions_core::service::ConsoleBox;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::oneshot;

use super::signals::Signals;
use super::terminal::Raw;
use crate::cli::Console;
use crate::client::Client;
use crate::output::{Failure, Outcome, Output};

/// Ctrl-]: what no program in a guest is likely to want.
const ESCAPE: u8 = 0x1d;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

pub async fn run(client: &Client, output: &Output, args: &Console) -> Outcome {
    let vm = &args.one.vm;
    let typed = io::stdin().is_terminal();
    let tail = usize::try_from(args.bytes).unwrap_or(usize::MAX);
    let mut signals = Signals::listen()?;
    let console = tokio::select! {
        console = client.plane.console(&client.caller, vm, tail) => console?,
        signal = signals.next() => return Ok(killed(signal)),
    };
    if typed {
        output.note(&format!("this is the console of {vm}; Ctrl-] leaves it, Enter wakes it"));
    }
    let raw = if typed { Some(Raw::enter()?) } else { None };
    let (from, to) = split(console);
    let (leave, left) = oneshot::channel();
    tokio::spawn(async move {
        if type_on(tokio::io::stdin(), to, typed.then_some(ESCAPE)).await == Typed::Escape {
            // Nobody waits for it once the guest has ended.
            let _ = leave.send(());
        } else {
            // Whoever has no more to type goes on to listen.
            let () = std::future::pending().await;
        }
    });
    let ended = tokio::select! {
        ended = show(from) => ended.map(|()| None),
        Ok(()) = left => Ok(Some(ExitCode::SUCCESS)),
        () = passes(args.timeout) => Ok(Some(ExitCode::SUCCESS)),
        signal = signals.next() => Ok(Some(killed(signal))),
    };
    drop(raw);
    if typed {
        // The guest's last line may not have ended.
        output.note("");
    }
    match ended? {
        Some(code) => Ok(code),
        None => {
            output.note(&format!("the console of {vm} has ended, and its guest with it"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn passes(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn killed(signal: Signal) -> ExitCode {
    ExitCode::from(128u8.saturating_add(signal.0))
}

/// What the guest prints, to stdout, until its end.
async fn show(mut from: ReadHalf<ConsoleBox>) -> Result<(), Failure> {
    let mut stdout = tokio::io::stdout();
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await.map_err(broke)?;
        if count == 0 {
            return Ok(());
        }
        stdout.write_all(&piece[..count]).await?;
        stdout.flush().await?;
    }
}

/// The connection broke, which is not our output's fault.
pub fn broke(error: io::Error) -> Failure {
    Error::new(ErrorKind::Unavailable, "the connection to the console broke").with_source(error).into()
}

/// How typing ended.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Escape,
    End,
}

/// What is typed, to the guest, until it ends or somebody wants to leave.
async fn type_on(mut stdin: impl AsyncRead + Unpin, mut to: WriteHalf<ConsoleBox>, escape: Option<u8>) -> Typed {
    let mut piece = vec![0; PIECE];
    loop {
        // A stdin that cannot be read is one that has ended.
        let Ok(count @ 1..) = stdin.read(&mut piece).await else { return Typed::End };
        let typed = &piece[..count];
        let end = escape.and_then(|escape| typed.iter().position(|byte| *byte == escape));
        let sent = async {
            to.write_all(&typed[..end.unwrap_or(count)]).await?;
            to.flush().await
        };
        match (sent.await, end) {
            (_, Some(_)) => return Typed::Escape,
            (Ok(()), None) => {}
            // Whoever reads sees the end as well.
            (Err(_), None) if escape.is_none() => return Typed::End,
            (Err(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use minions_core::hypervisor::Line;

    use super::*;

    async fn typed(stdin: &[u8], escape: Option<u8>) -> (Typed, Vec<u8>) {
        let (mut line, mut keys) = Line::new();
        let (_from, to) = split(line.attach(b""));
        let ended = type_on(stdin, to, escape).await;
        let mut all = Vec::new();
        while let Ok(bytes) = keys.try_recv() {
            all.extend(bytes);
        }
        (ended, all)
    }

    #[tokio::test]
    async fn the_escape_leaves_on_a_terminal_and_is_one_byte_of_many_elsewhere() {
        assert_eq!(typed(b"ls\r\x1drm", Some(ESCAPE)).await, (Typed::Escape, b"ls\r".to_vec()));
        assert_eq!(typed(b"ls\r\x1drm", None).await, (Typed::End, b"ls\r\x1drm".to_vec()));
    }
}
