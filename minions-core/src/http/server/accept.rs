//! Connections: caps, deadlines, and an orderly end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::listener::{ClientIo, Listener, Peer};
use super::patience::{Patient, Unhurried};
use super::{App, route};

/// Largest head of a request.
const MAX_HEAD: usize = 32 << 10;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;

/// How long a listener rests when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(app: Arc<App>, listeners: Vec<Listener>, shutdown: impl Future<Output = ()>) {
    // Every connection holds a sender: when the last is gone, all are.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    let mut loops = tokio::task::JoinSet::new();
    for listener in listeners {
        let router = route::router(app.clone(), listener.door);
        // Of its own: a crowd that the network sends must not keep the operator from the local socket.
        let places = Arc::new(Semaphore::new(app.settings.max_connections));
        loops.spawn(accept_loop(app.clone(), listener, router, places, alive.clone()));
    }
    drop(alive);
    shutdown.await;
    app.ready.store(false, std::sync::atomic::Ordering::Release);
    loops.shutdown().await;
    app.closing.send_replace(true);
    if tokio::time::timeout(app.settings.drain, all_gone.recv()).await.is_err() {
        tracing::warn!("requests were still under way when the time to drain was over");
    }
}

async fn accept_loop(
    app: Arc<App>,
    listener: Listener,
    router: Router,
    places: Arc<Semaphore>,
    alive: mpsc::Sender<Infallible>,
) {
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(app.clone(), stream, peer, router.clone(), place, alive.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    app: Arc<App>,
    stream: Box<dyn ClientIo>,
    peer: Peer,
    router: Router,
    _place: OwnedSemaphorePermit,
    alive: mpsc::Sender<Infallible>,
) {
    let service = TowerToHyperService::new(router);
    let alive_in_request = alive.clone();
    let unhurried = Unhurried::default();
    let stream = Patient::new(stream, app.settings.write_timeout, unhurried.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        // A stream outlives its connection's task, and counts as long as it lasts.
        request.extensions_mut().insert(Alive(alive_in_request.clone()));
        request.extensions_mut().insert(unhurried.clone());
        service.call(request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.read_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    let serving = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = app.closed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
    drop(alive);
}

/// Kept by whatever must be waited for when the server ends.
#[derive(Clone, Debug)]
pub(super) struct Alive(#[expect(dead_code, reason = "held, never used")] mpsc::Sender<Infallible>);
