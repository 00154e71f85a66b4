//! Connections: who may have one, for how long, and how they end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use super::caps::{Place, Sources};
use super::gate::{Gate, Opened};
use super::{App, serve};

/// Largest head of a request.
const MAX_HEAD: usize = 32 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long a listener rests when the process has no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// What stands for a connection as long as anything of it lasts, tunnels among it.
#[derive(Clone, Debug)]
pub(super) struct Held(
    #[expect(dead_code, reason = "held, never used")] Arc<(OwnedSemaphorePermit, Place, mpsc::Sender<Infallible>)>,
);

/// A connection, as its requests see it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub app: Arc<App>,
    pub client: IpAddr,
    /// The name that it was opened for, in lower case.
    pub sni: Arc<str>,
    pub held: Held,
    /// Set once it is no HTTP any more.
    pub opened: Opened,
    /// How many requests have come over it.
    pub asked: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Https,
    Http,
}

pub(super) async fn serve(
    app: Arc<App>,
    https: Vec<TcpListener>,
    http: Vec<TcpListener>,
    shutdown: impl Future<Output = ()>,
) {
    // Every connection holds a sender: when the last is gone, all are.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    let places = Arc::new(Semaphore::new(app.settings.max_connections));
    let sources = Arc::new(Sources::default());
    let mut loops = tokio::task::JoinSet::new();
    let all = https.into_iter().map(|one| (one, Door::Https)).chain(http.into_iter().map(|one| (one, Door::Http)));
    for (listener, door) in all {
        loops.spawn(accept(app.clone(), listener, door, places.clone(), sources.clone(), alive.clone()));
    }
    drop(alive);
    shutdown.await;
    loops.shutdown().await;
    app.closing.send_replace(true);
    if tokio::time::timeout(app.settings.drain, all_gone.recv()).await.is_err() {
        tracing::warn!("requests were still under way when the time to drain was over");
    }
}

async fn accept(
    app: Arc<App>,
    listener: TcpListener,
    door: Door,
    places: Arc<Semaphore>,
    sources: Arc<Sources>,
    alive: mpsc::Sender<Infallible>,
) {
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(source) = sources.enter(peer.ip(), app.settings.max_per_source) else { continue };
                let held = Held(Arc::new((place, source, alive.clone())));
                tokio::spawn(connection(app.clone(), stream, peer, door, held));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn connection(app: Arc<App>, stream: TcpStream, peer: SocketAddr, door: Door, held: Held) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection broke at once");
        return;
    }
    let (client, asked, opened) = (peer.ip(), Arc::default(), Opened::default());
    if door == Door::Http {
        let connection = Connection { app, client, sni: Arc::from(""), held, asked, opened };
        return one(connection, stream, door).await;
    }
    let accepting = TlsAcceptor::from(app.tls.clone()).accept(stream);
    let stream = match tokio::time::timeout(app.settings.handshake, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, %client, "no handshake"),
        Err(_) => return tracing::debug!(%client, "a handshake took too long"),
    };
    let session = stream.get_ref().1;
    let two = session.alpn_protocol() == Some(b"h2");
    let Some(sni) = session.server_name().map(|name| Arc::from(name.to_ascii_lowercase())) else { return };
    let connection = Connection { app, client, sni, held, asked, opened };
    match two {
        true => Box::pin(many(connection, stream)).await,
        false => one(connection, stream, door).await,
    }
}

/// HTTP/1.1.
async fn one<S>(connection: Connection, stream: S, door: Door)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let app = connection.app.clone();
    let stream = Gate::new(stream, app.settings.body_idle, connection.opened.clone());
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    let service = service_fn(move |request| {
        let connection = connection.clone();
        async move {
            match door {
                Door::Https => serve::https(connection, request).await,
                Door::Http => serve::http(connection, request),
            }
        }
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = closed(&app) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// HTTP/2.
async fn many<S>(connection: Connection, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let app = connection.app.clone();
    // Its frames are read in one way.
    connection.opened.set();
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(32 << 10)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(app.settings.keep_alive)
        .keep_alive_timeout(app.settings.head);
    let asked = connection.asked.clone();
    let busy = Arc::new(());
    let held = busy.clone();
    let service = service_fn(move |request| {
        let (connection, busy) = (connection.clone(), held.clone());
        async move {
            let answer = serve::https(connection, request).await;
            drop(busy);
            answer
        }
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut before = None;
    let ended = loop {
        tokio::select! {
            ended = serving.as_mut() => break ended,
            () = closed(&app) => {
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
            () = tokio::time::sleep(app.settings.keep_alive) => {
                let now = asked.load(Ordering::Relaxed);
                // Nothing was asked for a whole while: what is under way is finished, and nothing new begins.
                if before.replace(now) == Some(now) && Arc::strong_count(&busy) <= 2 {
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

async fn closed(app: &App) {
    // The sender is in `App`; were it gone, the proxy would have ended too.
    let _ = app.closing.subscribe().wait_for(|closing| *closing).await;
}
