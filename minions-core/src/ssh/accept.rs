//! Connections: caps, login grace, an orderly end.

use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::connection::Connection;
use super::startups::{Place, Startups};
use super::{Shared, watch as watching};

/// How long a listener rests when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(shared: Arc<Shared>, listeners: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
    // Every connection holds a sender: when the last is gone, all are.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    let (closing, closed) = watch::channel(false);
    let startups = Startups::new(shared.settings.max_startups, shared.settings.max_startups_per_source);
    let places = Arc::new(Semaphore::new(shared.settings.max_connections + shared.settings.max_startups));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(watching::follow(shared.clone()));
    for listener in listeners {
        let (shared, startups, places) = (shared.clone(), startups.clone(), places.clone());
        let (alive, closed) = (alive.clone(), closed.clone());
        tasks.spawn(async move {
            loop {
                let (stream, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let Ok(held) = places.clone().try_acquire_owned() else { continue };
                // Whoever is turned away is told nothing: that would be work for them.
                if shared.penalties.holds(peer.ip(), tokio::time::Instant::now()) {
                    continue;
                }
                let Some(place) = startups.enter(peer.ip(), chance()) else { continue };
                let (shared, alive, closed) = (shared.clone(), alive.clone(), closed.clone());
                tokio::spawn(async move {
                    connection(shared, stream, peer, place, closed).await;
                    drop((held, alive));
                });
            }
        });
    }
    drop(alive);
    shutdown.await;
    tasks.shutdown().await;
    closing.send_replace(true);
    if tokio::time::timeout(shared.settings.drain, all_gone.recv()).await.is_err() {
        tracing::warn!("SSH sessions were still open when the time to drain was over");
    }
}

/// 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without any chance nobody is turned away before it is full.
    getrandom::fill(&mut bytes).map_or(1.0, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    mut closed: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection broke before it began");
        return;
    }
    let stream = Arc::new(stream);
    let (logged_in, mut is_in) = watch::channel(false);
    let (over, mut is_over) = watch::channel(false);
    let tried = Arc::new(AtomicBool::new(false));
    let handler = Connection::new(shared.clone(), logged_in, over, tried.clone());
    // Whoever has only looked whether somebody listens has failed at nothing.
    let failed = || {
        if tried.load(Ordering::Relaxed) {
            shared.penalties.failed(peer.ip(), tokio::time::Instant::now());
        }
    };
    let grace = tokio::time::Instant::now() + shared.settings.login_grace;
    let config = shared.config.clone();
    let running = russh::server::run_stream(config, Cuttable(stream.clone()), handler);
    let session = match tokio::time::timeout_at(grace, running).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a connection ended before it began"),
        Err(_) => return tracing::debug!(%peer, "a client said nothing"),
    };
    let mut session = session;
    // In the place of those who have not logged in, until they have.
    let first = tokio::select! {
        ended = &mut session => First::Ended(ended),
        () = becomes(&mut is_in) => First::LoggedIn,
        () = tokio::time::sleep_until(grace) => First::Late,
    };
    match first {
        First::LoggedIn => {
            shared.penalties.forgive(peer.ip());
            drop(place);
        }
        First::Ended(ended) => {
            failed();
            return told(peer, ended);
        }
        First::Late => {
            tracing::debug!(%peer, "nobody logged in in time");
            failed();
            cut(&stream);
            return told(peer, session.await);
        }
    }
    let ended = tokio::select! {
        ended = &mut session => Some(ended),
        () = async { drop(is_over.wait_for(|is_over| *is_over).await) } => None,
        () = async { drop(closed.wait_for(|closed| *closed).await) } => None,
    };
    if let Some(ended) = ended {
        return told(peer, ended);
    }
    let reason = "the VM is not what it was when you logged in, or the service ends".to_owned();
    let handle = session.handle();
    let told_why = handle.disconnect(russh::Disconnect::ByApplication, reason, String::new());
    // Whoever does not listen is not waited for.
    if tokio::time::timeout(Duration::from_millis(500), async { (told_why.await, (&mut session).await) }).await.is_err()
    {
        cut(&stream);
        told(peer, session.await);
    }
}

/// Until it is so; for ever where nobody is left to say it.
async fn becomes(so: &mut watch::Receiver<bool>) {
    if so.wait_for(|so| *so).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What becomes of a connection that has just begun.
enum First {
    LoggedIn,
    Late,
    Ended(Result<(), super::connection::Broken>),
}

fn cut(stream: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(stream).shutdown(Shutdown::Both) {
        tracing::debug!(%error, "a connection was gone already");
    }
}

fn told(peer: SocketAddr, ended: Result<(), super::connection::Broken>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended badly");
    }
}

/// A socket that somebody else can cut.
struct Cuttable(Arc<TcpStream>);

impl AsyncRead for Cuttable {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            std::task::ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(to) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.0).shutdown(Shutdown::Write))
    }
}
