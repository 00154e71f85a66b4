//! The HTTPS front door: `https://NAME.domain` leads to the VM of that name, in front of any control plane.
//!
//! ```text
//! accept.rs   connections: caps, deadlines, drain          certs/    which certificate a name gets
//! check.rs    whether a request may be looked at further   site.rs   which name it is for
//! route/      names to VMs, as new as the service          serve.rs  one request, from its head to its answer
//! headers.rs  what of a head crosses, either way           upstream/ connections into VMs
//! gate/       requests that can be read in one way only    tunnel.rs what a connection becomes after an upgrade
//! who.rs      who is visiting     login.rs, session.rs  how people say who they are
//! caps.rs     who may have how much                        page.rs   what people read
//! ```

mod accept;
mod caps;
mod certs;
mod check;
mod gate;
mod headers;
mod login;
mod page;
mod route;
mod serve;
mod session;
mod site;
mod tunnel;
mod upstream;
mod who;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use certs::{Certificate, Certificates, OwnCa};

use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::service::{DynAccounts, DynControlPlane, LoginLinks};
use crate::types::KeyPrint;

/// What an operator may set. [`Settings::new`] gives what is right for the open internet.
#[derive(Clone, Debug)]
pub struct Settings {
    /// VMs are at `NAME.domain`.
    pub domain: String,
    /// Where the service's own pages are. Best a name outside `domain`.
    pub control: String,
    /// The port at which browsers find HTTPS: in every address that the proxy sends somebody to.
    pub port: u16,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most connections of one address at a time, or of one /64.
    pub max_per_source: usize,
    /// Most requests and tunnels at one VM at a time.
    pub max_per_vm: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's head may take: on HTTP/1.1 from the end of the answer before it, so that this is also how long
    /// such a connection may do nothing.
    pub head: Duration,
    /// How long a request's body may stand still, and a client take nothing of an answer.
    pub body_idle: Duration,
    /// How long a connection of HTTP/2 may do nothing.
    pub keep_alive: Duration,
    /// How long the way into a VM may take.
    pub connect: Duration,
    /// How long a VM may think.
    pub first_byte: Duration,
    /// How long a tunnel, or an answer, may stand still.
    pub tunnel_idle: Duration,
    /// How long a request waits for the routes to be as new as the service.
    pub routes: Duration,
    /// How long routes may go unheard of where the service does not say how new they should be.
    pub stale: Duration,
    /// How long requests under way have when the proxy ends.
    pub drain: Duration,
}

impl Settings {
    /// For VMs at `NAME.domain`, with the service's own pages at `control`.
    #[must_use]
    pub fn new(domain: impl Into<String>, control: impl Into<String>) -> Self {
        Self {
            domain: domain.into().to_ascii_lowercase(),
            control: control.into().to_ascii_lowercase(),
            port: 443,
            max_connections: 50_000,
            max_per_source: 100,
            max_per_vm: 1000,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(600),
            routes: Duration::from_secs(1),
            stale: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// The proxy. Cheap to clone; all clones are the same one. It follows the service from when it is made until it is dropped.
#[derive(Clone, Debug)]
pub struct HttpsProxy {
    app: Arc<App>,
    _tasks: Arc<Tasks>,
}

/// What requests see. The control plane is the only way from here to a VM.
pub(crate) struct App {
    plane: DynControlPlane,
    accounts: DynAccounts,
    env: Env,
    names: site::Names,
    settings: Settings,
    tls: Arc<rustls::ServerConfig>,
    routes: Arc<route::Routes>,
    pool: upstream::Pool,
    sessions: session::Sessions,
    closing: watch::Sender<bool>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Tasks([AbortHandle; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// How often free connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

impl HttpsProxy {
    /// A proxy in front of a control plane. Must be called within a runtime.
    ///
    /// # Errors
    /// `InvalidArgument` where a domain is none.
    pub fn new(
        plane: DynControlPlane,
        accounts: DynAccounts,
        env: Env,
        certificates: Certificates,
        settings: Settings,
    ) -> Result<Self> {
        for (field, name) in [("domain", &settings.domain), ("control", &settings.control)] {
            if site::host(name).as_ref() != Some(name) {
                return Err(Error::invalid(field, format!("{name} is no domain name")));
            }
        }
        let (domain, control) = (settings.domain.clone(), settings.control.clone());
        let names = site::Names { domain, control, port: settings.port };
        let routes = route::Routes::new(plane.clone(), settings.routes, settings.stale);
        let pool = upstream::Pool::default();
        let sweep = (pool.clone(), routes.clone());
        let tasks = [
            tokio::spawn(routes.clone().follow()).abort_handle(),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SWEEP).await;
                    sweep.0.sweep(|id| sweep.1.get(id));
                }
            })
            .abort_handle(),
        ];
        let tls = Arc::new(tls(certificates)?);
        let closing = watch::Sender::new(false);
        let sessions = session::Sessions::new(env.clone());
        let app = App { plane, accounts, env, names, settings, tls, routes, pool, sessions, closing };
        Ok(Self { app: Arc::new(app), _tasks: Arc::new(Tasks(tasks)) })
    }

    /// Serves until `shutdown` ends: HTTPS on the first, on the second only the way to HTTPS. Then takes no new connection,
    /// lets requests under way finish, and returns when they have, or when the time to drain is over.
    pub async fn serve(&self, https: Vec<TcpListener>, http: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        accept::serve(self.app.clone(), https, http, shutdown).await;
    }
}

impl LoginLinks for HttpsProxy {
    fn login_link(&self, key: &KeyPrint) -> String {
        let link = self.app.sessions.link(session::Whose::Key(*key));
        format!("{}/login?link={link}", self.app.names.origin(&self.app.names.control))
    }
}

fn tls(certificates: Certificates) -> Result<rustls::ServerConfig> {
    let failed = |error: rustls::Error| Error::internal("cannot set up TLS").with_source(error);
    let builder = rustls::ServerConfig::builder_with_provider(certs::provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(failed)?;
    // A request that can be sent twice is not taken.
    config.max_early_data_size = 0;
    Ok(config)
}

/// Listens on an address.
///
/// # Errors
/// `Unavailable` where that is not possible.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}")).with_source(error))
}
