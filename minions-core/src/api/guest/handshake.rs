//! Both halves of the mutual hello, over any stream. The caller bounds them by a total deadline.

use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::Frame;
use super::hello::{Hello, Nonce, PROTOCOL_VERSIONS, Purpose, Transcript, same};
use super::stream::{FrameReader, FrameWriter};
use crate::error::{Error, ErrorKind, Result};
use crate::types::AgentSecret;

/// What the hello brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The version both speak.
    pub version: u32,
    /// The same for all connections of one boot of the guest.
    pub boot_nonce: Nonce,
    /// The release of the agent's binary, made safe to print.
    pub agent_version: String,
}

/// Who an agent is: what it says of itself in every hello.
#[derive(Clone, Debug)]
pub struct AgentIdentity {
    /// The VM's secret.
    pub secret: AgentSecret,
    /// Made once per boot.
    pub boot_nonce: Nonce,
    /// The release of its binary.
    pub agent_version: String,
}

fn untrusted(message: &'static str) -> Error {
    Error::new(ErrorKind::Denied, message).with_reason("agent_untrusted")
}

/// The host's half. It speaks first, and queues its proof in `writer` without waiting for it to be sent: the call that
/// follows goes out in the same write. Flush where none follows.
///
/// `Denied` with the reason `agent_untrusted` where the peer does not know the secret, `Unsupported` with the reason
/// `agent_version` where no version is common.
pub async fn host<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    secret: &AgentSecret,
    purpose: Purpose,
) -> Result<Peer>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let host = Nonce::fresh()?;
    writer.message(&Hello::Host { versions: PROTOCOL_VERSIONS.to_vec(), nonce: host }).await?;
    match reader.message().await? {
        Hello::Agent { version, boot_nonce, nonce, agent_version, proof } => {
            let transcript = Transcript { purpose, version, host, agent: nonce, boot: boot_nonce };
            if !PROTOCOL_VERSIONS.contains(&version) || !same(&proof, &transcript.agent_proof(secret)) {
                return Err(untrusted("what answers in the guest does not know the VM's secret"));
            }
            writer.queue(&Frame::control(&Hello::HostProof { proof: transcript.host_proof(secret) })?);
            Ok(Peer { version, boot_nonce, agent_version: super::terminal::sanitize_line(&agent_version, 64) })
        }
        Hello::Refused { reason, .. } if reason == "version" => {
            Err(Error::new(ErrorKind::Unsupported, "the agent speaks no version of the protocol that this host speaks")
                .with_reason("agent_version"))
        }
        Hello::Refused { .. } | Hello::Host { .. } | Hello::HostProof { .. } => {
            Err(untrusted("what answers in the guest is not the agent"))
        }
    }
}

/// The agent's half: returns the version once the host has proved that it knows the secret.
pub async fn agent<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    identity: &AgentIdentity,
    purpose: Purpose,
) -> Result<u32>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let refused = |reason: &str| Hello::Refused { reason: reason.to_owned(), versions: PROTOCOL_VERSIONS.to_vec() };
    let Hello::Host { versions, nonce: host } = reader.message().await? else {
        return Err(untrusted("the peer did not begin with a host's hello"));
    };
    let Some(version) = PROTOCOL_VERSIONS.iter().copied().find(|version| versions.contains(version)) else {
        writer.message(&refused("version")).await?;
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the host speaks no version of the protocol that this agent speaks",
        )
        .with_reason("agent_version"));
    };
    let agent = Nonce::fresh()?;
    let transcript = Transcript { purpose, version, host, agent, boot: identity.boot_nonce };
    writer
        .message(&Hello::Agent {
            version,
            boot_nonce: identity.boot_nonce,
            nonce: agent,
            agent_version: identity.agent_version.clone(),
            proof: transcript.agent_proof(&identity.secret),
        })
        .await?;
    match reader.message().await? {
        Hello::HostProof { proof } if same(&proof, &transcript.host_proof(&identity.secret)) => Ok(version),
        _ => {
            writer.message(&refused("proof")).await?;
            Err(untrusted("the host does not know the VM's secret"))
        }
    }
}
