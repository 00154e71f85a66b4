//! A shell or a command in the guest, on one channel.

use std::collections::BTreeMap;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, Sig};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Shared;
use super::login::Login;
use crate::api::guest::{ExecRequest, GuestCall, Signal, Tty, TtySize};
use crate::error::{Error, Result};
use crate::guest::client::{ExecEnd, ExecInput, ExecItem, exec};
use crate::service::VmRef;

/// What a client said of a channel before it said what to run.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) env: BTreeMap<String, String>,
    pub(super) tty: Option<Tty>,
}

/// A program's status where it could not be run at all.
pub(super) const NOT_RUN: u32 = 255;

/// The channel of what a program writes to stderr.
pub(super) const STDERR: u32 = 1;

/// Runs a command by a shell, or a login shell, until it ends or the client is gone.
pub(super) async fn run(
    shared: &Shared,
    login: &Login,
    wishes: Wishes,
    command: Option<String>,
    channel: Channel<Msg>,
    handle: Handle,
) {
    let id = channel.id();
    let (read, write) = channel.split();
    let (stdout, stderr) = (write.make_writer(), write.make_writer_ext(Some(STDERR)));
    let ended = match start(shared, login, wishes, command).await {
        Ok((input, output)) => {
            // Whoever has closed the channel wants no more of it.
            tokio::select! {
                ended = carry(output, stdout, stderr) => ended,
                gone = feed(read, input) => return tracing::debug!(?gone, "a client closed a channel"),
            }
        }
        Err(error) => {
            tell(stderr, &error).await;
            Ok(ExecEnd::Failed(error))
        }
    };
    let said = match ended {
        Ok(ExecEnd::Signaled(signal)) => {
            let (name, lang) = (sig(signal), String::new());
            handle.exit_signal_request(id, name, false, String::new(), lang).await
        }
        Ok(ExecEnd::Exited(code)) => handle.exit_status_request(id, u32::from(code)).await,
        Ok(ExecEnd::Failed(_)) => handle.exit_status_request(id, NOT_RUN).await,
        Err(error) => {
            tell(write.make_writer_ext(Some(STDERR)), &error).await;
            handle.exit_status_request(id, NOT_RUN).await
        }
    };
    // Each of them fails only where the connection is gone.
    if said.is_ok() && write.eof().await.is_ok() && write.close().await.is_ok() {
        return;
    }
    tracing::debug!("a client left before a program had ended");
}

async fn start(
    shared: &Shared,
    login: &Login,
    wishes: Wishes,
    command: Option<String>,
) -> Result<(ExecInput, crate::guest::client::ExecOutput)> {
    let argv = match command {
        // A shell that was not called by its path is what people are used to after a login.
        None => vec!["/bin/sh".to_owned(), "-l".to_owned()],
        Some(command) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command],
    };
    let request = ExecRequest { env: wishes.env, tty: wishes.tty, stdin: true, ..ExecRequest::new(argv) };
    let call = GuestCall::Exec(request);
    Ok(exec(shared.plane.open(&login.caller, &VmRef::Id(login.vm.id), &call).await?))
}

/// Brings the client what the program writes; waits where it does not read, which holds up this channel alone.
async fn carry(
    mut output: crate::guest::client::ExecOutput,
    mut stdout: impl AsyncWrite + Unpin,
    mut stderr: impl AsyncWrite + Unpin,
) -> Result<ExecEnd> {
    let gone = |error: std::io::Error| {
        Error::new(crate::error::ErrorKind::Unavailable, "the client is gone").with_source(error)
    };
    loop {
        match output.next().await?.ok_or_else(hung_up)? {
            ExecItem::Started { .. } => {}
            ExecItem::Stdout(bytes) => stdout.write_all(&bytes).await.map_err(gone)?,
            ExecItem::Stderr(bytes) => stderr.write_all(&bytes).await.map_err(gone)?,
            ExecItem::End(end) => {
                stdout.flush().await.map_err(gone)?;
                stderr.flush().await.map_err(gone)?;
                return Ok(end);
            }
        }
    }
}

/// Brings the program what the client sends, until the channel is closed.
async fn feed(mut read: ChannelReadHalf, input: ExecInput) {
    while let Some(message) = read.wait().await {
        let done = match message {
            ChannelMsg::Data { data } => input.write(data).await,
            ChannelMsg::Eof => input.close().await,
            ChannelMsg::WindowChange { col_width, row_height, .. } => input.resize(size(col_width, row_height)).await,
            ChannelMsg::Signal { signal } => match signal_of(&signal) {
                Some(signal) => input.signal(signal).await,
                None => Ok(()),
            },
            ChannelMsg::Close => return,
            _ => Ok(()),
        };
        if done.is_err() {
            // The program is over; what is said of that comes from the other side.
            std::future::pending::<()>().await;
        }
    }
}

fn hung_up() -> Error {
    Error::new(crate::error::ErrorKind::Unavailable, "the agent hung up before the program had ended")
}

pub(super) async fn tell(mut stderr: impl AsyncWrite + Unpin, error: &Error) {
    let text = format!("minions: {}\r\n", crate::api::guest::sanitize_line(&error.to_string(), 1_000));
    if let Err(error) = async {
        stderr.write_all(text.as_bytes()).await?;
        stderr.flush().await
    }
    .await
    {
        tracing::debug!(%error, "a client left before it was told why");
    }
}

/// As large as a terminal can be said to be.
pub(super) fn size(columns: u32, rows: u32) -> TtySize {
    let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    TtySize { rows: fit(rows), cols: fit(columns) }
}

fn signal_of(signal: &Sig) -> Option<Signal> {
    let name = match signal {
        Sig::Custom(name) => return Signal::from_name(name),
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
    };
    Signal::from_name(name)
}

fn sig(signal: Signal) -> Sig {
    match signal.name() {
        Some("ABRT") => Sig::ABRT,
        Some("ALRM") => Sig::ALRM,
        Some("FPE") => Sig::FPE,
        Some("HUP") => Sig::HUP,
        Some("ILL") => Sig::ILL,
        Some("INT") => Sig::INT,
        Some("KILL") => Sig::KILL,
        Some("PIPE") => Sig::PIPE,
        Some("QUIT") => Sig::QUIT,
        Some("SEGV") => Sig::SEGV,
        Some("TERM") => Sig::TERM,
        Some("USR1") => Sig::USR1,
        Some(name) => Sig::Custom(format!("{name}@minions")),
        None => Sig::Custom(format!("{}@minions", signal.0)),
    }
}
