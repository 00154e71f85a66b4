//! What is done to a proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Result;
use crate::front::{DOMAIN, VM};
use crate::measure::micros;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Requests on connections that stay.
    Http1,
    /// A connection for each request.
    Handshake,
    /// Streams on connections that stay.
    Http2,
    /// Messages of 64 bytes, there and back.
    WebSocket,
    /// 64 MiB, one after the other.
    Download,
}

/// Where a proxy is, and how one comes to it.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    tls: [TlsConnector; 2],
}

impl Target {
    pub fn new(dir: &Path, address: SocketAddr) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.pem"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let make = |alpn: &[u8]| -> Result<TlsConnector> {
            let builder = rustls::ClientConfig::builder_with_provider(provider.clone());
            let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots.clone());
            let mut config = builder.with_no_client_auth();
            config.alpn_protocols = vec![alpn.to_vec()];
            // Whole handshakes.
            config.resumption = rustls::client::Resumption::disabled();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { address, tls: [make(b"http/1.1")?, make(b"h2")?] })
    }

    pub async fn connect(&self, h2: bool) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host())?;
        let [h1, two] = &self.tls;
        Ok(if h2 { two } else { h1 }.connect(name, stream).await?)
    }

    /// Does this for so long. Microseconds of each that was done.
    pub async fn load(&self, work: Work, time: Duration) -> Result<Vec<f64>> {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        let spread = |count: usize| (0..count).map(|_| self.clone());
        match work {
            Work::Http1 => spread(64).for_each(|one| drop(tasks.spawn(one.http1(end)))),
            Work::Handshake => spread(16).for_each(|one| drop(tasks.spawn(one.handshakes(end)))),
            Work::Http2 => spread(8).for_each(|one| drop(tasks.spawn(one.http2(end)))),
            Work::WebSocket => spread(32).for_each(|one| drop(tasks.spawn(one.web_socket(end)))),
            Work::Download => spread(1).for_each(|one| drop(tasks.spawn(one.downloads(end)))),
        }
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        Ok(all)
    }

    async fn http1(self, end: Instant) -> Result<Vec<f64>> {
        let (mut line, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect(false).await?)).await?;
        tokio::spawn(connection);
        let mut times = Vec::new();
        while Instant::now() < end {
            let begin = Instant::now();
            line.ready().await?;
            let request = Request::get("/").header(HOST, host()).body(Empty::<Bytes>::new())?;
            read(line.send_request(request).await?).await?;
            times.push(micros(begin));
        }
        Ok(times)
    }

    async fn handshakes(self, end: Instant) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        while Instant::now() < end {
            let begin = Instant::now();
            let mut stream = self.connect(false).await?;
            get(&mut stream, "/", "connection: close\r\n").await?;
            times.push(micros(begin));
        }
        Ok(times)
    }

    async fn http2(self, end: Instant) -> Result<Vec<f64>> {
        let io = TokioIo::new(self.connect(true).await?);
        let (line, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let mut tasks: JoinSet<Result<Vec<f64>>> = JoinSet::new();
        for _ in 0..16 {
            let mut line = line.clone();
            tasks.spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let begin = Instant::now();
                    let request = Request::get(format!("https://{}/", host())).body(Empty::<Bytes>::new())?;
                    read(line.send_request(request).await?).await?;
                    times.push(micros(begin));
                }
                Ok(times)
            });
        }
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        Ok(all)
    }

    async fn web_socket(self, end: Instant) -> Result<Vec<f64>> {
        let mut stream = self.connect(false).await?;
        let asks = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let head = get(&mut stream, "/ws", asks).await?;
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err("no web socket".into());
        }
        let (message, mut echo, mut times) = ([9; 64], [0; 64], Vec::new());
        while Instant::now() < end {
            let begin = Instant::now();
            stream.write_all(&message).await?;
            stream.flush().await?;
            stream.read_exact(&mut echo).await?;
            times.push(micros(begin));
        }
        Ok(times)
    }

    async fn downloads(self, end: Instant) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        let mut stream = self.connect(false).await?;
        let mut piece = vec![0; 256 << 10];
        while Instant::now() < end {
            let begin = Instant::now();
            let head = get(&mut stream, "/big", "").await?;
            let at = head.windows(4).position(|at| at == b"\r\n\r\n").ok_or("no head")?;
            let mut left = super::backend::BIG - (head.len() - at - 4);
            while left > 0 {
                let count = stream.read(&mut piece).await?;
                if count == 0 {
                    return Err("a download broke off".into());
                }
                left -= count;
            }
            times.push(micros(begin));
        }
        Ok(times)
    }

    /// Opens so many connections, makes one request on each, and keeps them.
    pub async fn idle(&self, count: usize) -> Result<Vec<TlsStream<TcpStream>>> {
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            let mut stream = self.connect(false).await?;
            get(&mut stream, "/", "").await?;
            held.push(stream);
        }
        Ok(held)
    }
}

fn host() -> String {
    format!("{VM}.{DOMAIN}")
}

async fn read(answer: hyper::Response<hyper::body::Incoming>) -> Result<()> {
    if answer.status() != 200 {
        return Err(format!("a request was answered with {}", answer.status()).into());
    }
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Asks, and reads until the head is there.
async fn get(stream: &mut TlsStream<TcpStream>, path: &str, headers: &str) -> Result<Vec<u8>> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", host()).as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|at| at == b"\r\n\r\n") {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Err("an answer broke off".into());
        }
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    if !head.starts_with(b"HTTP/1.1 200") && !head.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&head).into_owned().into());
    }
    Ok(head)
}
