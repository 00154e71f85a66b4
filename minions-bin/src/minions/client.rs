//! The service, from here.

use std::path::Path;
use std::sync::Arc;

use minions_core::api::v1;
use minions_core::config::Environment;
use minions_core::env::Env;
use minions_core::error::{Effect, Error, ErrorKind, Result};
use minions_core::http::client::HttpControlPlane;
use minions_core::http::token::Token;
use minions_core::service::{Caller, DynControlPlane, DynDirectory, IdempotencyKey, VmAction, VmRef};

use crate::cli::Global;
use crate::place;
use crate::secret::private_text;

/// Times that a request whose fate is unknown is sent again, under the same key.
const RETRIES: usize = 2;

/// A connection to the service, as whoever the service takes us for.
#[derive(Clone, Debug)]
pub struct Client {
    pub plane: DynControlPlane,
    pub people: DynDirectory,
    /// The service knows who we are; this only fills the trait's argument.
    pub caller: Caller,
    env: Env,
    /// The service's own face, where it is elsewhere.
    http: Option<Arc<HttpControlPlane>>,
}

impl Client {
    pub fn new(global: &Global, environment: &Environment) -> Result<Self> {
        let place = place::find(global, environment)?;
        let token = place.token_file.as_deref().map(read_token).transpose()?;
        let http = Arc::new(HttpControlPlane::new(place.endpoint, token));
        let (plane, people, caller) = (http.clone(), http.clone(), Caller::tenant("me"));
        Ok(Self { plane, people, caller, env: Env::system(), http: Some(http) })
    }

    /// In the service's own process, for somebody whom it knows.
    pub fn within(plane: DynControlPlane, people: DynDirectory, caller: Caller, env: Env) -> Self {
        Self { plane, people, caller, env, http: None }
    }

    /// Whom the service takes us for.
    pub async fn whoami(&self) -> Result<v1::WhoAmI> {
        match &self.http {
            Some(http) => http.whoami().await,
            None => {
                let Caller { owner, role, scope } = self.caller.clone();
                Ok(v1::WhoAmI { name: owner.0, role, scope })
            }
        }
    }

    /// Which version answers.
    pub async fn version(&self) -> Result<v1::VersionInfo> {
        match &self.http {
            Some(http) => http.version().await,
            None => Err(Error::internal("nobody asks a service for its version from within")),
        }
    }

    pub async fn create(&self, request: &v1::CreateVm) -> Result<v1::Operation> {
        let key = self.key()?;
        self.insist(|| self.plane.create(&self.caller, request, Some(&key))).await
    }

    pub async fn act(&self, vm: &VmRef, action: &VmAction) -> Result<v1::Operation> {
        let key = self.key()?;
        self.insist(|| self.plane.act(&self.caller, vm, action, Some(&key))).await
    }

    fn key(&self) -> Result<IdempotencyKey> {
        self.env.operation_id().to_string().parse()
    }

    /// A request whose connection broke is sent again: the key makes sure that it counts once.
    async fn insist<T, F: Future<Output = Result<T>>>(&self, send: impl Fn() -> F) -> Result<T> {
        let mut left = RETRIES;
        loop {
            match send().await {
                Err(error)
                    if left > 0 && error.kind() == ErrorKind::Unavailable && error.effect() == Effect::Unknown =>
                {
                    left -= 1;
                }
                ended => return ended,
            }
        }
    }
}

fn read_token(path: &Path) -> Result<Token> {
    private_text(path).map_err(|message| Error::invalid("token-file", message))?.trim().parse()
}
