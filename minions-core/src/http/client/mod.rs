//! The API's client: a control plane that is somewhere else.
//!
//! ```text
//! endpoint.rs       where the server is           connect.rs  a connection to it
//! request.rs        one bounded exchange          stream.rs   a stream into a guest
//! control_plane.rs  the trait, method by method
//! ```

mod connect;
mod control_plane;
mod directory;
mod endpoint;
mod request;
mod stream;

use std::fmt;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub use endpoint::Endpoint;

use super::token::Token;

/// A control plane that is reached over HTTP. Who the caller is, is decided there: by the user on a UNIX socket, by the
/// token on TCP. The [`Caller`](crate::service::Caller) that its methods take counts for nothing.
#[derive(Clone)]
pub struct HttpControlPlane {
    endpoint: Endpoint,
    token: Option<Token>,
    client: Client<connect::Connector, Full<Bytes>>,
    timeout: Duration,
}

impl HttpControlPlane {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, token: Option<Token>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Less than the server keeps an idle connection.
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connect::Connector(endpoint.clone()));
        Self { endpoint, token, client, timeout: Duration::from_secs(30) }
    }

    /// Where the server is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl fmt::Debug for HttpControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpControlPlane").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
