//! A whole service on the in-memory host behind the HTTPS proxy, and a client that can send anything.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub mod played;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use minions_core::Result;
use minions_core::api::v1;
use minions_core::env::Env;
use minions_core::proxy::{Certificates, HttpsProxy, OwnCa, Settings, listen};
use minions_core::service::{Accounts, Caller, ControlPlane, DynControlPlane, VmAction, VmRef};
use minions_core::types::{KeyPrint, Token, TokenHash};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::edge::{Edge, Reply, new_vm, owner};

pub const DOMAIN: &str = "box.test";
pub const CONTROL: &str = "control.test";

/// Who has which token.
#[derive(Debug, Default)]
pub struct People(pub Mutex<HashMap<TokenHash, Caller>>);

#[async_trait]
impl Accounts for People {
    async fn by_key(&self, key: &KeyPrint) -> Result<Option<Caller>> {
        // The first one's key; gone with everybody else.
        Ok((*key == print() && !self.0.lock().unwrap().is_empty()).then(owner))
    }

    async fn by_token(&self, token: &TokenHash) -> Result<Option<Caller>> {
        Ok(self.0.lock().unwrap().get(token).cloned())
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
}

/// The owner's key.
pub fn print() -> KeyPrint {
    KeyPrint::of_blob(b"owner")
}

pub struct Front {
    pub edge: Edge,
    pub proxy: HttpsProxy,
    pub people: Arc<People>,
    pub address: SocketAddr,
    pub plain: SocketAddr,
    pub ca: OwnCa,
    pub dir: tempfile::TempDir,
    end: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

pub fn token(of: u8) -> Token {
    Token::of(&[of; 32])
}

impl Front {
    pub async fn start() -> Self {
        Self::start_with(|_| {}, |plane| plane).await
    }

    pub async fn start_with(
        change: impl FnOnce(&mut Settings),
        wrap: impl FnOnce(DynControlPlane) -> DynControlPlane,
    ) -> Self {
        let edge = Edge::start().await;
        let dir = tempfile::tempdir().unwrap();
        let env = Env::system();
        let ca = OwnCa::ensure(dir.path()).unwrap();
        let certificates = Certificates::new();
        let names = [DOMAIN.to_owned(), format!("*.{DOMAIN}"), CONTROL.to_owned()];
        certificates.put(&ca.sign(&env, names.to_vec()).unwrap());
        let people = Arc::new(People::default());
        let all = [(token(1), owner()), (token(2), crate::edge::other()), (token(3), Caller::admin("ops"))];
        people.0.lock().unwrap().extend(all.map(|(token, caller)| (token.hash(), caller)));
        let mut settings = Settings::new(DOMAIN, CONTROL);
        settings.drain = Duration::from_secs(1);
        change(&mut settings);
        let plane: DynControlPlane = edge.plane.clone();
        let proxy = HttpsProxy::new(wrap(plane), people.clone(), env, certificates, settings).unwrap();
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let (https, http) = (listen(any).await.unwrap(), listen(any).await.unwrap());
        let (address, plain) = (https.local_addr().unwrap(), http.local_addr().unwrap());
        let (end, ended) = oneshot::channel::<()>();
        let serving = proxy.clone();
        let served = tokio::spawn(async move {
            let end = async {
                let _ = ended.await;
            };
            serving.serve(vec![https], vec![http], end).await;
        });
        Self { edge, proxy, people, address, plain, ca, dir, end: Some(end), served: Some(served) }
    }

    /// A public VM that runs.
    pub async fn public(&self, name: &str) -> v1::Vm {
        self.vm(v1::CreateVm { public: true, ..new_vm(name) }).await
    }

    pub async fn vm(&self, request: v1::CreateVm) -> v1::Vm {
        let operation = self.edge.plane.create(&owner(), &request, None).await.unwrap();
        self.ended(operation).await;
        self.edge.plane.vm(&owner(), &VmRef::Name(request.name.name().clone())).await.unwrap()
    }

    pub async fn act(&self, vm: &v1::Vm, action: VmAction) {
        let operation = self.edge.plane.act(&owner(), &VmRef::Id(vm.id), &action, None).await.unwrap();
        self.ended(operation).await;
    }

    async fn ended(&self, operation: v1::Operation) {
        let ended = self.edge.plane.operation(&owner(), operation.id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
    }

    /// Ends the proxy, and waits until it has.
    pub async fn end(&mut self) {
        drop(self.end.take());
        self.served.take().unwrap().await.unwrap();
    }

    pub async fn tls(&self, sni: &str, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(self.address).await?).await
    }

    /// Sends bytes to a name's connection, whatever they are, and reads until the proxy closes.
    pub async fn raw(&self, sni: &str, bytes: &[u8]) -> Reply {
        let mut stream = self.tls(sni, &[b"http/1.1"]).await.unwrap();
        let _ = stream.write_all(bytes).await;
        read(&mut stream).await
    }

    /// Asks a VM for `/`.
    pub async fn get(&self, name: &str, headers: &str) -> Reply {
        let host = format!("{name}.{DOMAIN}");
        self.ask(&host, "/", headers).await
    }

    pub async fn ask(&self, host: &str, path: &str, headers: &str) -> Reply {
        let text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
        self.raw(host, text.as_bytes()).await
    }
}

/// Reads an answer to the end of its stream.
pub async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Reply {
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    let _ = reading.await.expect("the proxy answers and closes");
    let split = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_ascii_lowercase(), body: answer.get(split + 4..).unwrap_or_default().to_vec() }
}
