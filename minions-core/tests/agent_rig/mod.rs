//! An agent in process, and a host's client of it.
#![allow(dead_code, reason = "each file of tests uses its part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minions_core::agent::{Agent, AgentOptions};
use minions_core::api::guest::handshake::AgentIdentity;
use minions_core::api::guest::{ExecRequest, GuestCall, Nonce, Purpose};
use minions_core::guest::GuestIoBox;
use minions_core::guest::client::{self, ExecEnd, ExecInput, ExecItem, ExecOutput};
use minions_core::types::AgentSecret;
use tokio::net::UnixStream;
use tokio::time::Instant;

pub fn secret() -> AgentSecret {
    AgentSecret::from_bytes([3; 32])
}

pub fn agent() -> Arc<Agent> {
    let identity =
        AgentIdentity { secret: secret(), boot_nonce: Nonce::from_bytes([1; 32]), agent_version: "test".to_owned() };
    Agent::new(identity, AgentOptions::default())
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A proven connection on which the call was sent, over a pair of real sockets.
pub async fn open_on(agent: &Arc<Agent>, call: GuestCall) -> GuestIoBox {
    let (host, guest) = UnixStream::pair().unwrap();
    let agent = agent.clone();
    tokio::spawn(async move { agent.serve_stream(guest).await });
    let (mut io, peer) = client::prove(Box::new(host), &secret(), Purpose::Call, soon()).await.unwrap();
    assert_eq!(peer.agent_version, "test");
    client::begin(&mut io, &call, soon()).await.unwrap();
    io
}

pub async fn open(call: GuestCall) -> GuestIoBox {
    open_on(&agent(), call).await
}

pub fn sh(script: &str) -> ExecRequest {
    ExecRequest::new(["sh", "-c", script])
}

pub async fn start(request: ExecRequest) -> (ExecInput, ExecOutput) {
    client::exec(open(GuestCall::Exec(request)).await)
}

pub struct Outcome {
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub end: ExecEnd,
}

impl Outcome {
    pub fn out(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

pub async fn rest(output: &mut ExecOutput) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match output.next().await.unwrap().expect("an end comes last") {
            ExecItem::Started { pid } => assert!(pid > 1),
            ExecItem::Stdout(bytes) => out.extend_from_slice(&bytes),
            ExecItem::Stderr(bytes) => err.extend_from_slice(&bytes),
            ExecItem::End(end) => return Outcome { out, err, end },
        }
    }
}

pub async fn run(request: ExecRequest) -> Outcome {
    let (_input, mut output) = start(request).await;
    rest(&mut output).await
}

/// The same bytes for the same seed, and a sum that any change of them changes.
pub struct Noise(pub u64);

impl Noise {
    pub fn piece(&mut self, length: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.extend_from_slice(&self.0.to_le_bytes());
        }
        bytes.truncate(length);
        bytes.into()
    }
}

pub fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}
