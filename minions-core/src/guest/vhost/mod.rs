//! VSOCK by the kernel: a guest is dialled by its context id, and what guests dial on the host arrives at one listener. Which
//! VM a connection belongs to follows from the context id of who made it, which the kernel writes; a context id without a
//! door is turned away, that of the host itself among them.
//!
//! Nothing of a door is left when this process ends, so none is ever stale. Every process of the host may dial a guest's
//! agent, which trusts only who proves that it knows its secret; and every guest may dial whatever listens on VSOCK on the
//! host, so nothing else should. One daemon a host can have this: the port is taken by it.

mod door;
mod error;
mod wire;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::AbortHandle;

use super::door::{Line, line};
use super::{DoorState, GuestCapabilities, GuestChannel, GuestIoBox, READY_PORT};
use crate::env::CallCx;
use crate::error::Result;
use crate::types::{Cid, StepReport, VmId};

use door::{Door, Doors};
use error::VhostError;
use wire::{Carrier, Kernel};

/// Most connections at a time for one VM.
const MAX_CONNECTIONS: usize = 1000;

/// How long a guest's kernel may take to connect us. One that is too busy for this long does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Guest channels of all VMs on this host.
#[derive(Clone, Debug)]
pub struct VhostChannel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    carrier: Arc<dyn Carrier>,
    doors: Arc<Shared>,
    listening: AbortHandle,
}

/// Held for a look or a change, never across an await.
#[derive(Debug, Default)]
struct Shared(Mutex<Doors>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Doors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl VhostChannel {
    /// Listens for guests from now on. Must be called within a runtime. `Conflict` where another program does so on this
    /// host.
    pub fn open() -> Result<Self> {
        Self::open_at(READY_PORT)
    }

    /// The same at another port of the host than the one that our agent dials.
    pub fn open_at(port: u32) -> Result<Self> {
        Ok(Self::over(Arc::new(Kernel::bind(port).map_err(VhostError::listen(port))?)))
    }

    fn over(carrier: Arc<dyn Carrier>) -> Self {
        let doors = Arc::new(Shared::default());
        let listening = tokio::spawn(listen(carrier.clone(), doors.clone())).abort_handle();
        Self(Arc::new(Inner { carrier, doors, listening }))
    }

    fn door(&self, id: VmId) -> Result<Door, VhostError> {
        self.0.doors.lock().of(id).ok_or(VhostError::NoDoor(id))
    }
}

/// Takes every guest to its own door, for ever.
async fn listen(carrier: Arc<dyn Carrier>, doors: Arc<Shared>) {
    loop {
        match carrier.accept().await {
            Ok((socket, cid)) => {
                let passage = doors.lock().of_cid(cid).map(|door| door.passage.clone());
                match (passage, line(socket)) {
                    (Some(passage), Ok(socket)) => passage.knock(socket),
                    // A guest that boots faster than its door is opened again tries again.
                    (None, _) => tracing::debug!(cid, "turned away who has no door"),
                    (Some(_), Err(error)) => tracing::warn!(%error, cid, "cannot take a guest's connection"),
                }
            }
            Err(error) => {
                // Too many open files, most likely: the knock stays in the socket's queue until some are closed.
                tracing::warn!(%error, "cannot take a guest's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Dials until the guest's kernel has answered: ours gives up after two seconds, which a guest that shares a busy processor
/// may need.
async fn dial(carrier: &dyn Carrier, cid: Cid, port: u32) -> io::Result<Line> {
    let dialled = tokio::time::timeout(PATIENCE, async {
        loop {
            match carrier.dial(cid, port).await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                answered => return answered,
            }
        }
    });
    line(dialled.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
}

#[async_trait]
impl GuestChannel for VhostChannel {
    fn capabilities(&self) -> GuestCapabilities {
        GuestCapabilities { name: "vhost-vsock".to_owned(), simulated: false, max_connections: MAX_CONNECTIONS }
    }

    async fn ensure_open(&self, _cx: &CallCx, id: VmId, cid: Cid) -> Result<StepReport> {
        self.0.doors.lock().open(id, cid)?;
        Ok(StepReport::empty())
    }

    async fn ensure_absent(&self, _cx: &CallCx, id: VmId) -> Result<StepReport> {
        self.0.doors.lock().close(id);
        Ok(StepReport::empty())
    }

    async fn connect(&self, cx: &CallCx, id: VmId, port: u32) -> Result<GuestIoBox> {
        let door = self.door(id)?;
        cx.bound(async {
            let dialled = dial(&*self.0.carrier, door.cid, port).await;
            let socket = dialled.map_err(|source| VhostError::NoAnswer { id, port, source })?;
            let most = VhostError::TooMany { id, most: MAX_CONNECTIONS };
            let stream = door.passage.adopt(socket, MAX_CONNECTIONS).ok_or(most)?;
            let boxed: GuestIoBox = Box::new(stream);
            Ok(boxed)
        })
        .await
    }

    async fn accept(&self, cx: &CallCx, id: VmId) -> Result<GuestIoBox> {
        let door = self.door(id)?;
        cx.bound(async {
            let socket = door.passage.accept().await.ok_or(VhostError::NoDoor(id))?;
            let most = VhostError::TooMany { id, most: MAX_CONNECTIONS };
            let stream = door.passage.adopt(socket, MAX_CONNECTIONS).ok_or(most)?;
            let boxed: GuestIoBox = Box::new(stream);
            Ok(boxed)
        })
        .await
    }

    async fn observe(&self, _cx: &CallCx, id: VmId) -> Result<DoorState> {
        Ok(if self.door(id).is_ok() { DoorState::Open } else { DoorState::Absent })
    }

    async fn list(&self, _cx: &CallCx) -> Result<Vec<VmId>> {
        Ok(self.0.doors.lock().all())
    }
}

#[cfg(test)]
mod tests;
