//! The API's server, in front of any control plane.
//!
//! ```text
//! listener.rs  sockets: who may connect, and what is behind which door
//! accept.rs    connections: caps, deadlines, drain     patience.rs  clients that take nothing
//! route.rs     the one table of routes: router, OpenAPI and the authorisation test read it
//! auth.rs      who is calling, by peer credentials or a bearer token, and for how long they are let in
//! request.rs   bytes to wire types: limits and strictness     answer.rs  back again
//! vm.rs …      one file a noun
//! ```

mod accept;
mod account;
mod answer;
mod auth;
mod docs;
mod event;
mod host;
mod image;
mod listener;
mod metrics;
mod open;
mod operation;
mod patience;
mod probe;
mod request;
mod route;
mod vm;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use docs::openapi;
pub use listener::{Door, Listener};
pub use route::{Access, RouteInfo, routes};

use super::token::TokenTable;
use crate::service::{Caller, Discreet, DynAccounts, DynControlPlane, DynDirectory, Role};

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The version that `/v1/version` tells.
    pub version: String,
    /// Users who are admins when they come through the UNIX socket; everybody else is refused there.
    pub admin_uids: Vec<u32>,
    /// Most connections at a time at each socket; more wait in its queue. A crowd at one keeps nobody from another.
    pub max_connections: usize,
    /// Most streams into guests at a time. One tenant has at most a quarter of them.
    pub max_streams: usize,
    /// How long a request's head may take, and its body.
    pub read_timeout: Duration,
    /// How long a client may take none of what it is sent, but on a stream into a guest.
    pub write_timeout: Duration,
    /// How long requests under way have when the server ends.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            admin_uids: Vec::new(),
            max_connections: 1024,
            max_streams: 1024,
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// The server. Cheap to clone; all clones are the same one.
#[derive(Clone, Debug)]
pub struct ApiServer {
    app: Arc<App>,
}

/// What handlers see. The control plane is the only way from here to a VM.
#[derive(Debug)]
struct App {
    plane: DynControlPlane,
    settings: Settings,
    tokens: watch::Sender<Arc<TokenTable>>,
    people: Option<People>,
    ready: AtomicBool,
    closing: watch::Sender<bool>,
    streams: Arc<Semaphore>,
    /// Of each tenant who ever had one: as many as there are owners of tokens.
    tenants: Mutex<HashMap<String, Arc<Semaphore>>>,
    metrics: metrics::Metrics,
}

/// The accounts, by their two faces.
#[derive(Debug)]
struct People {
    accounts: DynAccounts,
    directory: DynDirectory,
}

impl ApiServer {
    /// A server in front of a control plane, which it makes [`Discreet`]. Not ready, and without tokens, until told otherwise.
    #[must_use]
    pub fn new(plane: DynControlPlane, settings: Settings) -> Self {
        Self::over(plane, None, settings)
    }

    /// The same, with accounts: their tokens let in besides those of the table, and can be managed.
    #[must_use]
    pub fn with_people(
        plane: DynControlPlane,
        accounts: DynAccounts,
        directory: DynDirectory,
        settings: Settings,
    ) -> Self {
        Self::over(plane, Some(People { accounts, directory }), settings)
    }

    fn over(plane: DynControlPlane, people: Option<People>, settings: Settings) -> Self {
        let streams = Arc::new(Semaphore::new(settings.max_streams));
        let app = App {
            plane: Arc::new(Discreet(plane)),
            settings,
            tokens: watch::Sender::default(),
            people,
            ready: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            streams,
            tenants: Mutex::default(),
            metrics: metrics::Metrics::default(),
        };
        Self { app: Arc::new(app) }
    }

    /// Who may come in by token from now on. What a token that is no longer in the table has under way ends at once:
    /// requests that wait, and streams. What it asked for and was accepted goes on.
    pub fn set_tokens(&self, table: TokenTable) {
        self.app.tokens.send_replace(Arc::new(table));
    }

    /// What `/readyz` says.
    pub fn set_ready(&self, ready: bool) {
        self.app.ready.store(ready, Ordering::Release);
    }

    /// Serves until `shutdown` ends. Then takes no new connection, lets requests under way finish, and returns when
    /// they have, or when the time to drain is over.
    pub async fn serve(&self, listeners: Vec<Listener>, shutdown: impl Future<Output = ()>) {
        accept::serve(self.app.clone(), listeners, shutdown).await;
    }
}

impl App {
    /// Ends when the server does.
    fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.closing.subscribe();
        async move {
            // The sender is in `App`; were it gone, the server would have ended too.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    /// A place for one more stream of this caller's, or `None`.
    fn stream_place(&self, caller: &Caller) -> Option<[Option<OwnedSemaphorePermit>; 2]> {
        let own = match caller.role {
            Role::Admin | Role::Edge => None,
            Role::Tenant => {
                let share = (self.settings.max_streams / 4).max(1);
                let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
                let theirs = tenants.entry(caller.owner.0.clone()).or_insert_with(|| Arc::new(Semaphore::new(share)));
                Some(theirs.clone().try_acquire_owned().ok()?)
            }
        };
        Some([own, Some(self.streams.clone().try_acquire_owned().ok()?)])
    }
}
