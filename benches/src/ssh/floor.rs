//! The least that a gateway of this kind costs: the library alone, which lets everybody in and dials for them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::load_secret_key;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::child::end_with_parent;
use crate::pin;

struct Open;

impl Handler for Open {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> std::result::Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> std::result::Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> std::result::Result<(), russh::Error> {
        session.channel_success(channel)?;
        session.exit_status_request(channel, 0)?;
        session.close(channel)
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
    ) -> std::result::Result<(), russh::Error> {
        let port = u16::try_from(port).unwrap_or_default();
        let Ok(mut stream) = TcpStream::connect((host, port)).await else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        reply.accept().await;
        tokio::spawn(async move {
            let mut channel = channel.into_stream();
            // Ends with its connections.
            let _ = tokio::io::copy_bidirectional_with_sizes(&mut channel, &mut stream, 64 << 10, 64 << 10).await;
        });
        Ok(())
    }
}

/// Runs until its parent ends it. Says `ready PORT`.
pub async fn serve(dir: &Path) -> Result<()> {
    end_with_parent();
    pin::this_thread(pin::MEASURED);
    let config = Arc::new(Config {
        keys: vec![load_secret_key(dir.join("key"), None)?],
        nodelay: true,
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..Config::default()
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("ready {}", listener.local_addr()?.port());
    loop {
        let stream = listener.accept().await?.0;
        let running = russh::server::run_stream(config.clone(), stream, Open);
        tokio::spawn(async move {
            if let Ok(session) = running.await {
                // Ends with its connection.
                let _ = session.await;
            }
        });
    }
}
