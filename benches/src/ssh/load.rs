//! What is done to a gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use russh::client::{Config, Handle, Handler};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{Disconnect, cipher, kex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::Result;
use crate::measure::micros;

struct Trusting;

impl Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> std::result::Result<bool, russh::Error> {
        Ok(true)
    }
}

/// A gateway, and who comes.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub user: &'static str,
    pub key: PathBuf,
}

impl Target {
    pub fn new(dir: &Path, address: SocketAddr, user: &'static str) -> Self {
        Self { address, user, key: dir.join("key") }
    }

    /// One that is logged in.
    async fn connect(&self) -> Result<Handle<Trusting>> {
        let mut config = Config { nodelay: true, ..Config::default() };
        // The same for everybody: what all of them speak.
        config.preferred.kex = std::borrow::Cow::Borrowed(&[kex::CURVE25519]);
        config.preferred.cipher = std::borrow::Cow::Borrowed(&[cipher::AES_256_GCM]);
        let mut handle = russh::client::connect(Arc::new(config), self.address, Trusting).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(&self.key, None)?), None);
        if !handle.authenticate_publickey(self.user, key).await?.success() {
            return Err("not let in".into());
        }
        Ok(handle)
    }

    /// Logs in so many times, two at a time. Microseconds of each.
    pub async fn handshakes(&self, count: usize) -> Result<Vec<f64>> {
        let mut tasks: JoinSet<Result<Vec<f64>>> = JoinSet::new();
        for _ in 0..2 {
            let one = self.clone();
            tasks.spawn(async move {
                let mut times = Vec::new();
                for _ in 0..count / 2 {
                    let begin = Instant::now();
                    let handle = one.connect().await?;
                    times.push(micros(begin));
                    handle.disconnect(Disconnect::ByApplication, "", "").await?;
                }
                Ok(times)
            });
        }
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        Ok(all)
    }

    /// Carries so many bytes to or from a port behind the gateway. Seconds.
    pub async fn carry(&self, up: bool, port: u16, bytes: usize) -> Result<f64> {
        let handle = self.connect().await?;
        let channel = handle.channel_open_direct_tcpip("localhost", u32::from(port), "127.0.0.1", 1).await?;
        let mut stream = channel.into_stream();
        let mut piece = vec![0; 64 << 10];
        let begin = Instant::now();
        stream.write_all(if up { b"w" } else { b"r" }).await?;
        stream.write_all(&u64::try_from(bytes)?.to_be_bytes()).await?;
        let mut left = bytes;
        while left > 0 {
            let size = left.min(piece.len());
            let some = piece.get_mut(..size).ok_or("no such piece")?;
            let moved = if up { stream.write_all(some).await.map(|()| size)? } else { stream.read(some).await? };
            if moved == 0 {
                return Err("broke off".into());
            }
            left -= moved;
        }
        stream.read_u8().await?;
        let took = begin.elapsed().as_secs_f64();
        handle.disconnect(Disconnect::ByApplication, "", "").await?;
        Ok(took)
    }

    /// Logs in so many times, and stays.
    pub async fn idle(&self, count: usize) -> Result<Vec<impl Drop>> {
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            held.push(self.connect().await?);
        }
        Ok(held)
    }
}
