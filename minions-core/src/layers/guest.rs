//! Forwards the port GuestChannel.

use async_trait::async_trait;

use super::{Layered, forward};
use crate::env::CallCx;
use crate::error::Result;
use crate::guest::{DoorState, GuestCapabilities, GuestChannel, GuestIoBox};
use crate::types::{Cid, StepReport, VmId};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: GuestChannel + ?Sized> GuestChannel for Layered<P> {
    fn capabilities(&self) -> GuestCapabilities {
        self.inner.capabilities()
    }

    async fn ensure_open(&self, cx: &CallCx, id: VmId, cid: Cid) -> Result<StepReport> {
        forward!(self, cx, Change, "guest.ensure_open", Some(id), ensure_open(id, cid))
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        forward!(self, cx, Change, "guest.ensure_absent", Some(id), ensure_absent(id))
    }

    async fn connect(&self, cx: &CallCx, id: VmId, port: u32) -> Result<GuestIoBox> {
        forward!(self, cx, Change, "guest.connect", Some(id), connect(id, port))
    }

    async fn accept(&self, cx: &CallCx, id: VmId) -> Result<GuestIoBox> {
        forward!(self, cx, Wait, "guest.accept", Some(id), accept(id))
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<DoorState> {
        forward!(self, cx, Read, "guest.observe", Some(id), observe(id))
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        forward!(self, cx, Read, "guest.list", None, list())
    }
}
