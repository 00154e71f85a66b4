//! The front doors: SSH and HTTPS to VMs, where the operator wants them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::proxy::{self, Certificates, HttpsProxy, OwnCa};
use minions_core::service::{DynControlPlane, DynLoginLinks, LocalAccounts};
use minions_core::ssh::{self, HostKey, SshGateway};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::folder::Folder;
use crate::cli::{Serve, Tls};
use crate::desk::Counter;

/// How often a development certificate is made anew, and a certificate's file looked at.
const RESIGN: Duration = Duration::from_secs(24 * 3_600);
const LOOK: Duration = Duration::from_secs(30);

/// What listens, and where people find it.
#[derive(Debug)]
pub struct Front {
    ssh: Option<(SshGateway, TcpListener)>,
    proxy: Option<(HttpsProxy, Vec<TcpListener>, Vec<TcpListener>)>,
    /// Keeps certificates fresh.
    tasks: JoinSet<Result<()>>,
    pub place: Vec<String>,
}

impl Front {
    /// Opens what was asked for.
    pub async fn open(
        args: &Serve,
        folder: &Folder,
        env: &Env,
        plane: DynControlPlane,
        accounts: Arc<LocalAccounts>,
    ) -> Result<Self> {
        let mut front = Self { ssh: None, proxy: None, tasks: JoinSet::new(), place: Vec::new() };
        if let (Some(address), Some(domain)) = (args.https, &args.domain) {
            let https = bind(address).await?;
            let http = match args.http {
                Some(address) => vec![bind(address).await?],
                None => Vec::new(),
            };
            let control = args.control_domain.clone().unwrap_or_else(|| format!("minions.{domain}"));
            let port = https.local_addr().map_or(443, |address| address.port());
            let names = vec![domain.clone(), format!("*.{domain}"), control.clone()];
            let certificates = front.certificates(args, folder, env, names).await?;
            let settings = proxy::Settings { port, ..proxy::Settings::new(domain, control) };
            front.place.push(format!("https://*.{domain}:{port}"));
            let proxy = HttpsProxy::new(plane.clone(), accounts.clone(), env.clone(), certificates, settings)?;
            front.proxy = Some((proxy, vec![https], http));
        }
        if let Some(address) = args.ssh {
            let (state, ids) = (folder.state(), env.ids.clone());
            let key = blocking(move || host_key(&state, ids.as_ref())).await?;
            tracing::info!(fingerprint = key.fingerprint(), "people know the SSH gateway by this key");
            let listener = bind(address).await?;
            front.place.push(format!("ssh://{}", shown(&listener)));
            let links = front.proxy.as_ref().map(|(proxy, ..)| Arc::new(proxy.clone()) as DynLoginLinks);
            let counter = Arc::new(Counter::new(plane.clone(), accounts.clone(), links, env.clone()));
            let gateway = SshGateway::with_commands(plane, accounts, counter, &key, ssh::Settings::default());
            front.ssh = Some((gateway, listener));
        }
        Ok(front)
    }

    async fn certificates(
        &mut self,
        args: &Serve,
        folder: &Folder,
        env: &Env,
        names: Vec<String>,
    ) -> Result<Certificates> {
        let certificates = Certificates::new();
        match (args.tls, &args.tls_file) {
            (Tls::Files, Some(file)) => {
                // Refused now rather than found out by the first visitor.
                let (first, of) = (file.clone(), names.clone());
                certificates.put(&blocking(move || proxy::Certificate::from_file(&first, of)).await?);
                let (following, file) = (certificates.clone(), file.clone());
                self.tasks.spawn(async move { following.follow(file, names, LOOK).await });
            }
            (Tls::Files, None) => {
                let text = "--tls files needs --tls-file FILE: one PEM file with the key and its chain";
                return Err(Error::invalid("tls-file", text));
            }
            (Tls::Dev, _) => {
                let dir = folder.state();
                let ca = Arc::new(blocking(move || OwnCa::ensure(&dir)).await?);
                certificates.put(&ca.sign(env, names.clone())?);
                tracing::warn!("certificates are signed by this service itself; browsers warn of them: --tls dev");
                let (fresh, env) = (certificates.clone(), env.clone());
                self.tasks.spawn(async move {
                    loop {
                        tokio::time::sleep(RESIGN).await;
                        fresh.put(&ca.sign(&env, names.clone())?);
                    }
                });
            }
        }
        Ok(certificates)
    }

    /// Serves until the service ends.
    pub async fn serve(mut self, ended: watch::Receiver<bool>) {
        let end = |mut ended: watch::Receiver<bool>| async move {
            // Without a sender the service has ended, too.
            drop(ended.wait_for(|ended| *ended).await);
        };
        let (ssh, proxy) = (self.ssh.take(), self.proxy.take());
        tokio::join!(
            async {
                if let Some((gateway, listener)) = ssh {
                    gateway.serve(vec![listener], end(ended.clone())).await;
                }
            },
            async {
                if let Some((proxy, https, http)) = proxy {
                    proxy.serve(https, http, end(ended.clone())).await;
                }
            }
        );
        self.tasks.shutdown().await;
    }
}

/// The key that people know this service by. Beside it lies a note that there is one: where only that is left, the key is
/// lost, and no other is made.
fn host_key(state: &Path, ids: &dyn minions_core::env::IdSource) -> Result<HostKey> {
    let (path, note) = (state.join("ssh_host_ed25519_key"), state.join("ssh_host_ed25519_key.pub"));
    let key = HostKey::load(&path, !note.exists(), ids)?;
    let failed =
        |error| Error::new(ErrorKind::Unavailable, format!("cannot write {}", note.display())).with_source(error);
    if !note.exists() {
        std::fs::write(&note, format!("{}\n", key.public_line()?)).map_err(failed)?;
    }
    Ok(key)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("reading a key panicked").with_source(error))?
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    proxy::listen(address).await
}

fn shown(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string())
}
