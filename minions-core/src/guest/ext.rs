//! What callers do on top of a guest channel.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::{AbortHandle, JoinSet};

use super::{AGENT_PORT, GuestChannel, GuestIoBox, client};
use crate::api::guest::{
    FrameReader, FrameWriter, GuestCall, Health, Nonce, Purpose, ReadyAck, ReadyReport, Untrusted,
};
use crate::env::{CallCx, Clock};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{AgentSecret, BootMark, VmId};

/// How long one connection may take to prove itself and say its words.
const HELLO: Duration = Duration::from_secs(5);

/// Most connections that are heard at a time; the newest win.
const HEARD: usize = 16;

/// A guest said that it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestReady {
    /// What took how long of its boot.
    pub marks: Vec<BootMark>,
    /// The same for everything that this boot's agent says.
    pub boot_nonce: Nonce,
    /// The release of the agent.
    pub agent_version: String,
    /// The guest's kernel.
    pub kernel: String,
    /// What its root file system is mounted from.
    pub root: String,
}

/// What callers do on top of a [`GuestChannel`].
#[async_trait]
pub trait GuestChannelExt: GuestChannel {
    /// Waits until the VM's agent reports that it is up, proves itself, and has heard that this was heard. A connection
    /// that does not prove itself, or dribbles, is dropped within 5 seconds and delays no other.
    ///
    /// An agent reports once a boot: for a guest that may have reported before, call [`probe`](Self::probe) first.
    async fn await_ready(&self, cx: &CallCx, id: VmId, secret: &AgentSecret, clock: &dyn Clock) -> Result<GuestReady> {
        cx.bound(async {
            let mut heard = JoinSet::new();
            let mut order: VecDeque<AbortHandle> = VecDeque::new();
            loop {
                tokio::select! {
                    io = self.accept(cx, id) => {
                        order.retain(|task| !task.is_finished());
                        if order.len() == HEARD && let Some(oldest) = order.pop_front() {
                            oldest.abort();
                        }
                        let ack = ReadyAck { wall: clock.wall(), hostname: None };
                        order.push_back(heard.spawn(hear(io?, secret.clone(), ack)));
                    }
                    Some(done) = heard.join_next() => match done {
                        Ok(Ok(ready)) => return Ok(ready),
                        Ok(Err(error)) => tracing::debug!(%id, error = error.chain(), "no agent on the ready port"),
                        // Only one that was too old.
                        Err(_) => {}
                    },
                }
            }
        })
        .await
    }

    /// A connection to the VM's agent that is proven and on which a call was sent. What follows on the stream are its
    /// frames, which [`client`] reads, here or at the far end of a tunnel.
    async fn open(&self, cx: &CallCx, id: VmId, secret: &AgentSecret, call: &GuestCall) -> Result<GuestIoBox> {
        Ok(self.call(cx, id, secret, call).await?.0)
    }

    /// The same, and what the agent said of itself.
    async fn call(
        &self,
        cx: &CallCx,
        id: VmId,
        secret: &AgentSecret,
        call: &GuestCall,
    ) -> Result<(GuestIoBox, client::Peer)> {
        let io = self.connect(cx, id, AGENT_PORT).await?;
        client::call(io, secret, call, cx.deadline.min(tokio::time::Instant::now() + HELLO)).await
    }

    /// Asks the agent once whether it is alive. Brings back the nonce of its boot, too.
    async fn probe(&self, cx: &CallCx, id: VmId, secret: &AgentSecret) -> Result<(Untrusted<Health>, Nonce)> {
        let (io, peer) = self.call(cx, id, secret, &GuestCall::Health).await?;
        Ok((client::health(io, cx.deadline).await?, peer.boot_nonce))
    }
}

#[async_trait]
impl<T: GuestChannel + ?Sized> GuestChannelExt for T {}

/// One connection to the ready port, from its hello to the acknowledgement.
async fn hear(io: GuestIoBox, secret: AgentSecret, ack: ReadyAck) -> Result<GuestReady> {
    let deadline = tokio::time::Instant::now() + HELLO;
    let (io, peer) = client::prove(io, &secret, Purpose::Ready, deadline).await?;
    let say = async {
        let (read, write) = tokio::io::split(io);
        let report: ReadyReport = FrameReader::new(read).message().await?;
        FrameWriter::new(write).message(&ack).await?;
        Ok::<_, Error>(Untrusted::new(report).clamp())
    };
    let report = tokio::time::timeout_at(deadline, say)
        .await
        .map_err(|_| Error::new(ErrorKind::DeadlineExceeded, "the guest did not say in time that it is ready"))??;
    Ok(GuestReady {
        marks: report.marks,
        boot_nonce: peer.boot_nonce,
        agent_version: peer.agent_version,
        kernel: report.kernel,
        root: report.root,
    })
}
