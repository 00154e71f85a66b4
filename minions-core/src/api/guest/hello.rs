//! The words of the mutual hello.

use std::fmt;

use crate::error::{Error, Result};
use crate::types::AgentSecret;

/// The versions of the protocol that this code speaks, the best first.
pub const PROTOCOL_VERSIONS: &[u32] = &[1];

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                hex32(&text).map(Self).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
            }
        }
    };
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

bytes32!(
    /// 256 bits used once.
    Nonce
);
bytes32!(
    /// An HMAC-SHA256 under the VM's secret over everything that the hello agreed on.
    Proof
);

impl Nonce {
    /// From the operating system's randomness.
    pub fn fresh() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::internal("the operating system gave no randomness")
                .with_source(std::io::Error::other(error.to_string()))
        })?;
        Ok(Self(bytes))
    }
}

/// What a connection is for. It is part of the proofs, so that one made for the one cannot be relayed to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The host dialled the agent's port, to call.
    Call,
    /// The guest dialled the host's ready port, to report.
    Ready,
}

impl Purpose {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Call => b"call",
            Self::Ready => b"ready",
        }
    }
}

/// The frames of the hello, in their order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "hello", rename_all = "snake_case")]
pub enum Hello {
    /// The host begins, whoever dialled.
    Host {
        /// What it speaks, the best first.
        versions: Vec<u32>,
        /// Fresh for this connection.
        nonce: Nonce,
    },
    /// The agent's answer.
    Agent {
        /// The version it chose.
        version: u32,
        /// The same for all connections of one boot of the guest.
        boot_nonce: Nonce,
        /// Fresh for this connection.
        nonce: Nonce,
        /// The release of its binary; for people.
        agent_version: String,
        /// That it knows the secret.
        proof: Proof,
    },
    /// That the host knows the secret too. Its call may follow at once.
    HostProof {
        /// The proof.
        proof: Proof,
    },
    /// The agent will not talk.
    Refused {
        /// Why: `version` or `proof`.
        reason: String,
        /// What it speaks.
        versions: Vec<u32>,
    },
}

/// Everything that both proofs are over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transcript {
    pub purpose: Purpose,
    pub version: u32,
    pub host: Nonce,
    pub agent: Nonce,
    pub boot: Nonce,
}

impl Transcript {
    pub(super) fn agent_proof(&self, secret: &AgentSecret) -> Proof {
        self.proof(secret, b"agent")
    }

    pub(super) fn host_proof(&self, secret: &AgentSecret) -> Proof {
        self.proof(secret, b"host")
    }

    fn proof(&self, secret: &AgentSecret, role: &[u8]) -> Proof {
        let mut mac = hmac_sha256::HMAC::new(secret.expose());
        for part in [
            b"minions hello",
            role,
            self.purpose.word(),
            &self.version.to_be_bytes(),
            self.host.bytes(),
            self.agent.bytes(),
            self.boot.bytes(),
        ] {
            // Each part goes with its length, so that no two transcripts spell the same bytes.
            mac.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            mac.update(part);
        }
        Proof(mac.finalize())
    }
}

/// Compares without telling by its time how much was right.
pub(super) fn same(one: &Proof, other: &Proof) -> bool {
    one.0.iter().zip(&other.0).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
