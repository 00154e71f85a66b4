//! One connection: hello, one call, its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};

use super::{exec, files, forward, grow, power, status};
use crate::api::guest::handshake::{self, AgentIdentity};
use crate::api::guest::{FrameReader, FrameWriter, GuestCall, Health, PowerHow, Purpose, Reply};
use crate::error::{Error, ErrorKind, Result};

/// How long a peer may take from its first byte until its call is read.
const HELLO: Duration = Duration::from_secs(5);

/// Whose the machine is that the agent runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The agent's guest: a shutdown ends it, growing grows its disks, the host sets its clock and name.
    Guest,
    /// Someone else's, as in tests and behind a stub monitor: a shutdown ends the agent alone.
    Borrowed,
}

/// How an agent behaves.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Whose the machine is.
    pub machine: Machine,
    /// Most connections at a time.
    pub max_connections: usize,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self { machine: Machine::Borrowed, max_connections: 256 }
    }
}

/// The agent: what all its connections share.
#[derive(Debug)]
pub struct Agent {
    identity: AgentIdentity,
    options: AgentOptions,
    slots: Arc<Semaphore>,
    ending: watch::Sender<Option<PowerHow>>,
}

impl Agent {
    /// An agent that proves itself so.
    #[must_use]
    pub fn new(identity: AgentIdentity, options: AgentOptions) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(options.max_connections));
        Arc::new(Self { identity, options, slots, ending: watch::Sender::new(None) })
    }

    /// What it proves itself with.
    #[must_use]
    pub fn identity(&self) -> &AgentIdentity {
        &self.identity
    }

    /// Whose the machine is.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.options.machine
    }

    /// Waits until a host asked for the end.
    pub async fn ended(&self) -> PowerHow {
        let mut ending = self.ending.subscribe();
        loop {
            if let Some(how) = *ending.borrow_and_update() {
                return how;
            }
            // The sender lives as long as `self`.
            if ending.changed().await.is_err() {
                return PowerHow::Now;
            }
        }
    }

    /// Serves one connection to its end. Above the cap of connections it is closed at once.
    pub async fn serve_stream<S: AsyncRead + AsyncWrite + Send + 'static>(self: Arc<Self>, stream: S) -> Result<()> {
        let _slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            Error::new(ErrorKind::Exhausted, "the agent serves as many connections as it may").with_reason("busy")
        })?;
        let (read, write) = tokio::io::split(stream);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        let hello = async {
            handshake::agent(&mut reader, &mut writer, &self.identity, Purpose::Call).await?;
            reader.message::<GuestCall>().await
        };
        let call = match tokio::time::timeout(HELLO, hello).await {
            Ok(Ok(call)) => call,
            // A call of a newer host, or none at all: it is told what was wrong, if it still listens.
            Ok(Err(error)) if error.kind() == ErrorKind::Denied => return Err(error),
            Ok(Err(error)) => {
                let unknown =
                    Error::new(ErrorKind::Unsupported, "the agent does not know this call").with_source(error);
                let failed = Reply::Failed { error: (&unknown).into() };
                let _ = tokio::time::timeout(HELLO, writer.message(&failed)).await;
                return Err(unknown);
            }
            Err(_) => return Err(Error::new(ErrorKind::DeadlineExceeded, "a peer did not send its call in time")),
        };
        self.dispatch(call, reader, writer).await
    }

    async fn dispatch<R, W>(&self, call: GuestCall, reader: FrameReader<R>, mut writer: FrameWriter<W>) -> Result<()>
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin,
    {
        let reply = match call {
            GuestCall::Exec(request) => return exec::run(request, reader, writer).await,
            GuestCall::ReadFile(request) => return files::read(request, writer).await,
            GuestCall::WriteFile(request) => return files::write(request, reader, writer).await,
            GuestCall::List(request) => return files::list(request, writer).await,
            GuestCall::TarIn { dest } => return files::tar_in(dest, reader, writer).await,
            GuestCall::TarOut { path } => return files::tar_out(path, writer).await,
            GuestCall::Sftp => return files::sftp(reader, writer).await,
            GuestCall::Scp(request) => return files::scp(request, reader, writer).await,
            GuestCall::Forward { port } => return forward::run(port, reader, writer).await,
            GuestCall::Shutdown { how } => return self.shut_down(how, writer).await,
            GuestCall::Health => Ok(Reply::Health(self.health())),
            GuestCall::Status => status::status().await.map(|status| Reply::Status(Box::new(status))),
            GuestCall::Network => status::network().await.map(Reply::Network),
            GuestCall::Stat { path } => files::stat(path).await.map(Reply::Info),
            GuestCall::GrowFilesystem { target } => match self.options.machine {
                Machine::Guest => grow::grow(target).await.map(|bytes| Reply::Done { bytes, entries: 1 }),
                Machine::Borrowed => Err(Error::new(ErrorKind::Unsupported, "this agent has no disks of its own")),
            },
        };
        writer.message(&reply.unwrap_or_else(|error| Reply::Failed { error: (&error).into() })).await
    }

    fn health(&self) -> Health {
        let served = self.options.max_connections.saturating_sub(self.slots.available_permits());
        Health {
            uptime_ms: status::uptime_ms(),
            agent_version: self.identity.agent_version.clone(),
            connections: u32::try_from(served).unwrap_or(u32::MAX),
        }
    }

    async fn shut_down<W: AsyncWrite + Unpin>(&self, how: PowerHow, mut writer: FrameWriter<W>) -> Result<()> {
        writer.message(&Reply::Accepted).await?;
        drop(writer);
        if self.options.machine == Machine::Guest {
            power::off(how).await?;
        }
        self.ending.send_replace(Some(how));
        Ok(())
    }
}
