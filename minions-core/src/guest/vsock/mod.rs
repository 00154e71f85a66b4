//! VSOCK as UNIX sockets beside a monitor, the way several monitors do it: who connects to the VM's socket and writes
//! `CONNECT port` reaches that port in the guest; what the guest dials on the host arrives at the socket with the port
//! behind its name. So which VM a connection belongs to follows from the folder that it came through.

mod door;
mod error;
mod wire;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{DoorState, GuestCapabilities, GuestChannel, GuestIoBox, READY_PORT};
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{blocking, files, preflight};
use crate::types::{Cid, StepReport, VmId, names};

use door::Door;
use error::VsockError;

/// Most connections at a time for one VM: what the VSOCK helper serves.
const MAX_CONNECTIONS: usize = 1000;

/// Guest channels of the VMs below one folder.
#[derive(Clone, Debug)]
pub struct VsockChannel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    run_dir: PathBuf,
    /// Held for a look or a change of the map, never across an await.
    doors: Mutex<HashMap<VmId, Arc<Door>>>,
}

impl VsockChannel {
    /// The folder of running VMs: the same that the hypervisor has.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let longest = names::vm_dir(VmId::from_bits(0)).len() + 1 + names::vsock_port(u32::MAX).len();
        if run_dir.as_os_str().len() + 1 + longest > preflight::MAX_SOCKET_PATH {
            return Err(VsockError::DirTooLong { dir: run_dir.to_owned() }.into());
        }
        files::make_dir(run_dir).map_err(VsockError::io("make the folder of running VMs"))?;
        Ok(Self(Arc::new(Inner { run_dir: run_dir.to_owned(), doors: Mutex::default() })))
    }

    fn dir(&self, id: VmId) -> PathBuf {
        self.0.run_dir.join(names::vm_dir(id))
    }

    fn door(&self, id: VmId) -> Result<Arc<Door>, VsockError> {
        let doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.get(&id).cloned().ok_or(VsockError::NoDoor(id))
    }
}

#[async_trait]
impl GuestChannel for VsockChannel {
    fn capabilities(&self) -> GuestCapabilities {
        GuestCapabilities { name: "vsock".to_owned(), simulated: false, max_connections: MAX_CONNECTIONS }
    }

    async fn ensure_open(&self, _cx: &CallCx, id: VmId, _cid: Cid) -> Result<StepReport> {
        // Short work on two names in a folder of our own, under the lock: two callers make one door.
        let mut doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(place) = doors.entry(id) {
            let door = Door::open(&self.dir(id)).map_err(VsockError::io("open a VM's door"))?;
            place.insert(Arc::new(door));
        }
        Ok(StepReport::empty())
    }

    async fn ensure_absent(&self, _cx: &CallCx, id: VmId) -> Result<StepReport> {
        let mut doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = doors.remove(&id) {
            door.close();
        }
        door::remove(&self.dir(id)).map_err(VsockError::io("remove a VM's door"))?;
        Ok(StepReport::empty())
    }

    async fn connect(&self, cx: &CallCx, id: VmId, port: u32) -> Result<GuestIoBox> {
        let door = self.door(id)?;
        let path = self.dir(id).join(names::VSOCK);
        cx.bound(async {
            let dialled = wire::dial(&path, port).await;
            let stream = dialled.and_then(wire::line).map_err(|_| VsockError::NoAnswer { id, port })?;
            let most = VsockError::TooMany { id, most: MAX_CONNECTIONS };
            let stream = door.adopt(stream, MAX_CONNECTIONS).ok_or(most)?;
            let boxed: GuestIoBox = Box::new(stream);
            Ok(boxed)
        })
        .await
    }

    async fn accept(&self, cx: &CallCx, id: VmId) -> Result<GuestIoBox> {
        let door = self.door(id)?;
        cx.bound(async {
            let stream = door.accept().await.ok_or(VsockError::NoDoor(id))?;
            let most = VsockError::TooMany { id, most: MAX_CONNECTIONS };
            let stream = door.adopt(stream, MAX_CONNECTIONS).ok_or(most)?;
            let boxed: GuestIoBox = Box::new(stream);
            Ok(boxed)
        })
        .await
    }

    async fn observe(&self, _cx: &CallCx, id: VmId) -> Result<DoorState> {
        if self.door(id).is_ok() {
            return Ok(DoorState::Open);
        }
        let left = door::is_left(&self.dir(id)).map_err(VsockError::io("look for a VM's door"))?;
        Ok(if left { DoorState::Stale } else { DoorState::Absent })
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        let run_dir = self.0.run_dir.clone();
        let listed = blocking(move || {
            let io = VsockError::io("list the doors");
            let mut ids = Vec::new();
            for id in files::names(&run_dir).map_err(&io)?.iter().filter_map(|name| names::vm_of_dir(name)) {
                if door::is_left(&run_dir.join(names::vm_dir(id))).map_err(&io)? {
                    ids.push(id);
                }
            }
            Ok(ids)
        });
        cx.bound(listed).await
    }
}

/// The socket at which a guest's "ready" arrives.
fn ready_socket(dir: &Path) -> PathBuf {
    dir.join(names::vsock_port(READY_PORT))
}

/// Dials a port in a guest through its monitor's socket, without a channel: for tools that talk to one guest by hand.
pub async fn dial(socket: &Path, port: u32) -> Result<GuestIoBox> {
    match wire::dial(socket, port).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            let message = format!("nobody answers on port {port} behind {}", socket.display());
            Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
        }
    }
}

#[cfg(test)]
mod tests;
