//! The service, from here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minions_core::api::v1;
use minions_core::config::Environment;
use minions_core::env::Env;
use minions_core::error::{Effect, Error, ErrorKind, Result};
use minions_core::http::client::{Endpoint, HttpControlPlane};
use minions_core::http::token::Token;
use minions_core::service::{Caller, ControlPlane, IdempotencyKey, VmAction, VmRef};

use crate::cli::Global;
use crate::service::config::private_text;

/// Where a service keeps everything unless someone says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/minions";

/// The API's socket in a service's folder.
pub const SOCKET: &str = "minions.sock";

/// Times that a request whose fate is unknown is sent again, under the same key.
const RETRIES: usize = 2;

/// A connection to the service, as whoever the service takes us for.
#[derive(Clone, Debug)]
pub struct Client {
    pub plane: Arc<HttpControlPlane>,
    /// The service knows who we are; this only fills the trait's argument.
    pub caller: Caller,
    env: Env,
}

impl Client {
    pub fn new(global: &Global, environment: &Environment) -> Result<Self> {
        let token_file = global.token_file.as_ref().or(environment.token_file.as_ref());
        let token = token_file.map(|path| read_token(path)).transpose()?;
        let plane = HttpControlPlane::new(endpoint(global, environment)?, token);
        Ok(Self { plane: Arc::new(plane), caller: Caller::tenant("me"), env: Env::system() })
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

/// Where the service is: what was typed, then what the environment says, then the usual place.
fn endpoint(global: &Global, environment: &Environment) -> Result<Endpoint> {
    let in_dir = |dir: &PathBuf| {
        let path = dir.join(SOCKET);
        std::path::absolute(&path)
            .map(Endpoint::Unix)
            .map_err(|error| Error::invalid("dir", format!("{} cannot be found", dir.display())).with_source(error))
    };
    match (&global.server, &global.dir, &environment.server, &environment.dir) {
        (Some(_), Some(_), _, _) => Err(Error::invalid("server", "--server and --dir both say where the service is")),
        (Some(url), ..) => url.parse(),
        (None, Some(dir), ..) => in_dir(dir),
        (None, None, Some(url), _) => url.parse(),
        (None, None, None, Some(dir)) => in_dir(dir),
        (None, None, None, None) => Ok(Endpoint::Unix(Path::new(DEFAULT_DIR).join(SOCKET))),
    }
}

fn read_token(path: &Path) -> Result<Token> {
    private_text(path).map_err(|message| Error::invalid("token-file", message))?.trim().parse()
}
