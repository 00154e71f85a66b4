//! The least that a proxy of this kind costs: hyper, rustls and a map, with none of our checks, rights or limits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Result;
use crate::child::end_with_parent;
use crate::front::{DOMAIN, VM};
use crate::pin;

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

struct Floor {
    names: HashMap<String, u16>,
    free: std::sync::Mutex<Vec<SendRequest<Incoming>>>,
}

impl Floor {
    fn take(&self) -> Option<SendRequest<Incoming>> {
        let mut free = self.free.lock().ok()?;
        while let Some(line) = free.pop() {
            if line.is_ready() {
                return Some(line);
            }
        }
        None
    }

    async fn forward(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Answer> {
        let named = request.uri().host().map(str::to_owned);
        let host = named.or_else(|| Some(request.headers().get(HOST)?.to_str().ok()?.to_owned())).unwrap_or_default();
        let name = host.split(':').next().unwrap_or_default();
        let Some(port) = self.names.get(name).copied() else {
            return Ok(Response::builder().status(404).body(Empty::new().map_err(|never| match never {}).boxed())?);
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
        *request.uri_mut() = path;
        *request.version_mut() = Version::HTTP_11;
        if !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, host.parse()?);
        }
        let client = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let mut line = match self.take() {
            Some(line) if client.is_none() => line,
            _ => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                stream.set_nodelay(true)?;
                let (line, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection.with_upgrades());
                line
            }
        };
        let mut answer = line.send_request(request).await?;
        if let Some(client) = client {
            let server = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                if let Ok((client, server)) = tokio::try_join!(client, server) {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    // Ends with its connections.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        } else {
            let floor = self.clone();
            // Free again when its answer was read.
            tokio::spawn(async move {
                if line.ready().await.is_ok()
                    && let Ok(mut free) = floor.free.lock()
                {
                    free.push(line);
                }
            });
        }
        Ok(answer.map(BodyExt::boxed))
    }
}

/// Runs until its parent ends it. Says `ready PORT`.
pub async fn serve(dir: &Path, backend: u16, names: usize) -> Result<()> {
    end_with_parent();
    pin::this_thread(pin::MEASURED);
    let pem = std::fs::read(dir.join("both.pem"))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut map: HashMap<String, u16> = (0..names).map(|at| (format!("known-{at}.{DOMAIN}"), backend)).collect();
    map.insert(format!("{VM}.{DOMAIN}"), backend);
    let floor = Arc::new(Floor { names: map, free: std::sync::Mutex::default() });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("ready {}", listener.local_addr()?.port());
    loop {
        let stream = listener.accept().await?.0;
        stream.set_nodelay(true)?;
        let (acceptor, floor) = (acceptor.clone(), floor.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| {
                let floor = floor.clone();
                async move {
                    let failed = |_| Response::new(Empty::new().map_err(|never| match never {}).boxed());
                    Ok::<_, Infallible>(floor.forward(request).await.unwrap_or_else(failed))
                }
            });
            let io = TokioIo::new(stream);
            // Ends with its connection.
            if h2 {
                let _ =
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await;
            }
        });
    }
}
