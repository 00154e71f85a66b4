//! `minions serve`: the daemon. It wires parts together and decides nothing about VMs.

mod cloud_hypervisor;
mod compose;
mod folder;
mod front;
mod logging;
mod memory;
mod network;
mod qemu;
mod real;
mod signals;
mod storage;
mod supervisor;

use std::path::Path;
use std::process::ExitCode;

use minions_core::config::{Config, Environment};
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::http::server::{ApiServer, Listener, Settings};
use minions_core::http::token::TokenTable;
use tokio::sync::watch;

use crate::cli::{Global, Serve};
use crate::output::{Failure, Outcome, Output};
use crate::place::DEFAULT_DIR;
use crate::secret::private_text;
use crate::service::config::{find, load};

pub use compose::{UIDS, service_config};
pub use folder::Folder;
pub use real::examine;
pub use storage::lvm;

pub async fn run(global: &Global, args: &Serve, environment: &Environment) -> Outcome {
    let output = Output::new(global, environment);
    // Looked for again at every reload: a file that was not there before counts too.
    let read = || read(find(args.config.as_deref(), global.dir.as_deref(), environment).as_deref(), args);
    let config = read()?;
    logging::start(&config, environment.log.as_deref()).map_err(Failure::of_config)?;
    let supervisor = supervisor::Supervisor::find(environment)?;
    let folder = folder(global, environment, &config)?;
    let _lock = folder.take().await?;
    let tokens = tokens(config.token_file.as_deref())?;

    let env = Env::system();
    let world = compose::compose(&folder, &config, &env).await?;
    let (accounts, directory) = (world.accounts.clone(), world.accounts.clone());
    let server = ApiServer::with_people(world.plane.clone(), accounts, directory, settings(&config));
    let has_tokens = !tokens.is_empty() || world.has_people().await?;
    server.set_tokens(tokens);
    let (listeners, place) = listeners(&folder, &config, has_tokens, world.guests_reach_host).await?;
    let front = front::Front::open(args, &folder, &env, world.plane.clone(), world.accounts.clone()).await?;
    let place: Vec<String> = place.into_iter().chain(front.place.iter().cloned()).collect();
    let mut signals = signals::Signals::listen()?;
    server.set_ready(true);
    tracing::info!(backend = world.backend, why = world.why, dir = %folder.dir().display(), "the service is ready");
    let told = if output.json {
        output.object(&serde_json::json!({ "ready": true, "backend": world.backend, "why": world.why, "api": place }))
    } else {
        output.text(&format!("ready: {} ({}: {})", place.join(" "), world.backend, world.why))
    };
    // Whoever started it and does not listen still wants it to run.
    if let Err(Failure::Error(error, _)) = told {
        tracing::warn!(error = %error.chain(), "cannot say that the service is ready");
    }

    supervisor.say("READY=1");
    let reload = || {
        let config = read()?;
        server.set_tokens(self::tokens(config.token_file.as_deref())?);
        Ok(())
    };
    let (ending, ended) = watch::channel(false);
    let end = async {
        signals.end(reload).await;
        supervisor.say("STOPPING=1");
        ending.send_replace(true);
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(server.serve(listeners, end), front.serve(ended)) } => {}
        () = supervisor.live() => {}
    }
    world.close().await;
    tracing::info!("the service has ended; its VMs are as they were");
    Ok(ExitCode::SUCCESS)
}

/// The service's folder: what was typed, what the environment says, what the configuration says, the usual one.
pub fn folder(global: &Global, environment: &Environment, config: &Config) -> Result<Folder> {
    let dir = global.dir.clone().or_else(|| environment.dir.clone()).or_else(|| config.dir.clone());
    Ok(Folder::at(&dir.unwrap_or_else(|| DEFAULT_DIR.into()))?.with(environment))
}

/// What the file says, and what was typed on top of it.
fn read(file: Option<&Path>, args: &Serve) -> Result<Config, Failure> {
    let mut config = load(file)?;
    if let Some(backend) = args.backend {
        config.backend = backend;
    }
    if let Some(listen) = args.listen {
        config.listen = Some(listen);
    }
    Ok(config)
}

fn tokens(file: Option<&Path>) -> Result<TokenTable, Failure> {
    let Some(file) = file else { return Ok(TokenTable::default()) };
    let wrong = |message: String| Failure::of_config(Error::invalid("api.token_file", message));
    let text = private_text(file).map_err(wrong)?;
    TokenTable::parse(&text).map_err(|error| wrong(format!("{}: {error}", file.display())))
}

fn settings(config: &Config) -> Settings {
    Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        admin_uids: vec![0, rustix::process::geteuid().as_raw()],
        max_connections: config.max_connections,
        max_streams: config.max_streams,
        drain: config.drain,
        ..Settings::default()
    }
}

/// The sockets, and how they are written.
async fn listeners(
    folder: &Folder,
    config: &Config,
    has_tokens: bool,
    guests_reach_host: bool,
) -> Result<(Vec<Listener>, Vec<String>), Failure> {
    // Refused because of what was configured, or because something else is in the way.
    let failed = |error: Error| match error.kind() {
        ErrorKind::Denied => Failure::of_config(error),
        _ => error.into(),
    };
    let socket = config.socket.clone().unwrap_or_else(|| folder.socket());
    let mut place = vec![format!("unix://{}", socket.display())];
    let mut listeners = vec![Listener::unix(&socket).map_err(failed)?];
    if let Some(listen) = config.listen {
        let listener = Listener::network(listen, has_tokens, config.allow_plaintext).await.map_err(failed)?;
        place.extend(listener.address().map(|address| format!("http://{address}")));
        listeners.push(listener);
    }
    if let Some(listen) = config.metrics_listen {
        let listener = Listener::private(listen, guests_reach_host).await.map_err(failed)?;
        place.extend(listener.address().map(|address| format!("http://{address}/metrics")));
        listeners.push(listener);
    }
    Ok((listeners, place))
}
