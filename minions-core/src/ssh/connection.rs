//! One connection's requests. Everything that is not here is refused by the library's default.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::keys::{Algorithm, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Shared;
use super::desk;
use super::login::{Entry, Login, login};
use super::program::{self, Wishes};
use super::watch::Held;
use super::{files, scp, tcpip};
use crate::api::guest::{GuestCall, Tty};
use crate::types::KeyPrint;

/// Most variables of one channel, and the longest of them, in bytes.
const MAX_ENV: usize = 64;
const MAX_ENV_BYTES: usize = 4 << 10;

/// Longest command, in bytes.
const MAX_COMMAND: usize = 32 << 10;

/// A connection broke, or its client did what no client does.
pub(super) type Broken = russh::Error;

pub(super) struct Connection {
    shared: Arc<Shared>,
    login: Option<(Entry, Held)>,
    logged_in: watch::Sender<bool>,
    over: watch::Sender<bool>,
    /// Whether anybody has tried to log in.
    tried: Arc<AtomicBool>,
    /// Session channels on which nothing runs yet.
    waiting: HashMap<ChannelId, (Channel<Msg>, Wishes, OwnedSemaphorePermit)>,
    channels: Arc<Semaphore>,
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        logged_in: watch::Sender<bool>,
        over: watch::Sender<bool>,
        tried: Arc<AtomicBool>,
    ) -> Self {
        let channels = Arc::new(Semaphore::new(shared.settings.max_channels));
        Self { shared, login: None, logged_in, over, tried, waiting: HashMap::new(), channels }
    }

    async fn whom(&self, user: &str, key: &PublicKey) -> Option<Entry> {
        self.tried.store(true, Ordering::Relaxed);
        let blob = key.to_bytes().ok()?;
        login(&self.shared, user, KeyPrint::of_blob(&blob)).await
    }

    /// The login to a VM, where it is one.
    fn vm(&self) -> Option<Arc<Login>> {
        match &self.login {
            Some((Entry::Vm(login), _)) => Some(login.clone()),
            _ => None,
        }
    }

    /// Runs a command, or a login shell.
    fn begin(&mut self, id: ChannelId, command: Option<String>, session: &mut Session) -> Result<(), Broken> {
        let Some(((channel, wishes, place), (entry, _))) = self.waiting.remove(&id).zip(self.login.as_ref()) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let (shared, entry, handle) = (self.shared.clone(), entry.clone(), session.handle());
        tokio::spawn(async move {
            match (entry, &shared.commands) {
                (Entry::Vm(login), _) => program::run(&shared, &login, wishes, command, channel, handle).await,
                (Entry::Desk(person), Some(commands)) => {
                    let size = wishes.tty.map(|tty| tty.size);
                    desk::run(commands.clone(), person, size, command, channel, handle).await;
                }
                // Nobody logs in to what is not there.
                (Entry::Desk(_), None) => {}
            }
            drop(place);
        });
        Ok(())
    }

    /// Carries files by a call of the agent's.
    fn begin_files(&mut self, id: ChannelId, call: GuestCall, session: &mut Session) -> Result<(), Broken> {
        let Some((login, (channel, _, place))) = self.vm().zip(self.waiting.remove(&id)) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let (shared, handle) = (self.shared.clone(), session.handle());
        tokio::spawn(async move {
            files::run(&shared, &login, call, channel, handle).await;
            drop(place);
        });
        Ok(())
    }
}

/// A signature that anybody could make by now.
fn is_broken(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa)
}

impl Handler for Connection {
    type Error = Broken;

    async fn auth_publickey_offered(&mut self, user: &str, key: PublicKeyOffer<'_>) -> Result<Auth, Broken> {
        let known = self.whom(user, key.public_key).await;
        Ok(if known.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Broken> {
        // Whoever was asked about before counts for nothing: this key has signed.
        let found = self.whom(user, key.public_key).await.filter(|_| !is_broken(key.algorithm));
        let Some(entry) = found else { return Ok(Auth::reject()) };
        let held = self.shared.watched.add(&entry, self.over.clone());
        self.login = Some((entry, held));
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Broken> {
        self.logged_in.send_replace(true);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        let Ok(place) = self.channels.clone().try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        self.waiting.insert(channel.id(), (channel, Wishes::default(), place));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let login = self.vm().filter(|login| tcpip::is_itself(host, login));
        let (Some(login), Some(port)) = (login, port) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let Ok(place) = self.channels.clone().try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            tcpip::run(&shared, &login, port, channel, reply).await;
            drop(place);
        });
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Broken> {
        self.waiting.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Broken> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.+".contains(letter);
        let Some((_, wishes, _)) = self.waiting.get_mut(&channel) else { return session.channel_failure(channel) };
        let term = Some(term).filter(|term| (1..=64).contains(&term.len()) && term.chars().all(plain));
        wishes.tty = Some(Tty { size: program::size(columns, rows), term: term.map(ToOwned::to_owned) });
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Broken> {
        let Some((_, wishes, _)) = self.waiting.get_mut(&channel) else { return session.channel_failure(channel) };
        let fits = wishes.env.len() < MAX_ENV
            && name.len() + value.len() <= MAX_ENV_BYTES
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !value.contains('\0');
        if !fits {
            return session.channel_failure(channel);
        }
        wishes.env.insert(name.to_owned(), value.to_owned());
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Broken> {
        self.begin(channel, None, session)
    }

    async fn exec_request(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Broken> {
        let command = std::str::from_utf8(data).ok().filter(|text| text.len() <= MAX_COMMAND && !text.contains('\0'));
        match (command, command.filter(|_| self.vm().is_some()).and_then(scp::request)) {
            (_, Some(copy)) => self.begin_files(channel, GuestCall::Scp(copy), session),
            (Some(command), None) => self.begin(channel, Some(command.to_owned()), session),
            (None, None) => session.channel_failure(channel),
        }
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Result<(), Broken> {
        match name {
            "sftp" => self.begin_files(channel, GuestCall::Sftp, session),
            _ => session.channel_failure(channel),
        }
    }
}
