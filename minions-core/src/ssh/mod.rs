//! An SSH gateway in front of any control plane: `ssh NAME@host` is a shell in the VM of that name, `ssh minions@host` the
//! service itself.
//!
//! The gateway ends SSH itself and enters VMs through their agents, so that no guest needs a server, a key or an address.
//!
//! ```text
//! accept.rs    connections: caps, login grace, an orderly end     startups.rs  who may knock at the same time: pure
//! login.rs     whom a key and a user name let in, and where to    connection.rs  one connection's requests
//! program.rs   a shell or a command in the guest                  tcpip.rs     a port of the guest
//! files.rs     sftp and scp: the agent speaks them               scp.rs       knows `scp -O` by its command
//! watch.rs     ends sessions whose VM is not what it was          key.rs       the host key
//! penalties.rs who has failed too often, and waits: pure         desk/        commands for the service itself
//! ```
//!
//! A channel whose client does not read holds up no other: it has a window. The other way round there is a limit of the
//! library (russh 0.65): it opens a client's window again as bytes come, and not as they are taken. A guest that takes
//! nothing of an upload holds up its whole connection once the channel's queue is full, until it takes more; what it costs
//! here is bounded, and other connections do not feel it.

mod accept;
mod connection;
mod desk;
mod files;
mod key;
mod login;
mod penalties;
mod program;
mod scp;
mod startups;
mod tcpip;
mod watch;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use tokio::net::TcpListener;

pub use desk::{CommandIo, Commands, DynCommands, Person};
pub use key::HostKey;

use crate::service::{Discreet, DynAccounts, DynControlPlane};

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a login may take, from the first byte on.
    pub login_grace: Duration,
    /// Most connections at a time that have not logged in, in all.
    pub max_startups: usize,
    /// Most of these from one address, or from one network of 64 bits where it is IPv6.
    pub max_startups_per_source: usize,
    /// So many connections of one source may end without a login, until one logs in; then each such end makes the source
    /// wait, twice as long each time.
    pub free_failures: u32,
    /// The longest such wait.
    pub max_penalty: Duration,
    /// Most connections at a time that have logged in.
    pub max_connections: usize,
    /// Most channels at a time of one connection.
    pub max_channels: usize,
    /// Whether only key exchanges are offered that a later quantum computer does not break either. Clients older than OpenSSH
    /// 9.9 know none of these.
    pub post_quantum_only: bool,
    /// How long all connections have to end when the gateway does.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            login_grace: Duration::from_secs(30),
            max_startups: 100,
            max_startups_per_source: 10,
            free_failures: 10,
            max_penalty: Duration::from_secs(300),
            max_connections: 4_096,
            max_channels: 32,
            post_quantum_only: false,
            drain: Duration::from_secs(5),
        }
    }
}

/// How long a refusal takes, so that its time tells nothing.
const REFUSAL: Duration = Duration::from_millis(150);

/// Keys that one connection may try.
const MAX_AUTH_TRIES: usize = 6;

/// After this long without a byte from a client it is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The gateway. Cheap to clone; all clones are the same one.
#[derive(Clone, Debug)]
pub struct SshGateway {
    shared: Arc<Shared>,
}

/// What every connection sees. The control plane is the only way from here to a VM.
#[derive(Debug)]
struct Shared {
    plane: DynControlPlane,
    accounts: DynAccounts,
    config: Arc<Config>,
    settings: Settings,
    watched: watch::Watched,
    penalties: penalties::Penalties,
    commands: Option<DynCommands>,
}

impl SshGateway {
    /// A gateway in front of a control plane, which it makes [`Discreet`].
    #[must_use]
    pub fn new(plane: DynControlPlane, accounts: DynAccounts, key: &HostKey, settings: Settings) -> Self {
        Self::over(plane, accounts, None, key, settings)
    }

    /// The same, with commands for the service itself: `ssh minions@host VERB…`, or a prompt.
    #[must_use]
    pub fn with_commands(
        plane: DynControlPlane,
        accounts: DynAccounts,
        commands: DynCommands,
        key: &HostKey,
        settings: Settings,
    ) -> Self {
        Self::over(plane, accounts, Some(commands), key, settings)
    }

    fn over(
        plane: DynControlPlane,
        accounts: DynAccounts,
        commands: Option<DynCommands>,
        key: &HostKey,
        settings: Settings,
    ) -> Self {
        let plane: DynControlPlane = Arc::new(Discreet(plane));
        let config = Arc::new(config(key, &settings));
        let penalties = penalties::Penalties::new(settings.free_failures, settings.max_penalty);
        let watched = watch::Watched::default();
        Self { shared: Arc::new(Shared { plane, accounts, config, settings, watched, penalties, commands }) }
    }

    /// Serves until `shutdown` ends; then takes nobody any more, and ends what is left after the time to drain.
    pub async fn serve(&self, listeners: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        accept::serve(self.shared.clone(), listeners, shutdown).await;
    }
}

fn config(key: &HostKey, settings: &Settings) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-minions")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: REFUSAL,
        // A client asks which methods there are before it tries one.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key.0.clone()],
        preferred: preferred(settings.post_quantum_only),
        max_auth_attempts: MAX_AUTH_TRIES,
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        event_buffer_size: settings.max_channels,
        ..Config::default()
    }
}

/// Nothing that anybody has broken, and first a key exchange that a later quantum computer does not break either.
fn preferred(post_quantum_only: bool) -> Preferred {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::DH_G16_SHA512,
        kex::DH_G18_SHA512,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    const POST_QUANTUM: &[kex::Name] =
        &[kex::MLKEM768X25519_SHA256, kex::EXTENSION_SUPPORT_AS_SERVER, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER];
    const CIPHERS: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];
    let keys = vec![
        Algorithm::Ed25519,
        Algorithm::SkEd25519,
        Algorithm::SkEcdsaSha2NistP256,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    Preferred {
        kex: Cow::Borrowed(if post_quantum_only { POST_QUANTUM } else { KEX }),
        key: Cow::Owned(keys),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}
