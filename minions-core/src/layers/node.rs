//! Forwards the port Node.

use async_trait::async_trait;

use super::{Layered, forward};
use crate::api::guest::GuestCall;
use crate::env::CallCx;
use crate::error::Result;
use crate::guest::GuestIoBox;
use crate::hypervisor::ConsoleBox;
use crate::node::{Node, NodeChanges, NodeInfo, NodeVm};
use crate::store::GoalEntry;
use crate::types::{ImageBundle, ImageId, ImageInfo, VmId};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Node + ?Sized> Node for Layered<P> {
    async fn info(&self, cx: &CallCx) -> Result<NodeInfo> {
        forward!(self, cx, Read, "node.info", None, info())
    }

    async fn apply(&self, cx: &CallCx, entry: &GoalEntry) -> Result<NodeVm> {
        forward!(self, cx, Change, "node.apply", Some(entry.vm), apply(entry))
    }

    async fn observe(&self, cx: &CallCx, vm: VmId) -> Result<Option<NodeVm>> {
        forward!(self, cx, Read, "node.observe", Some(vm), observe(vm))
    }

    async fn changes(&self, cx: &CallCx, after: u64) -> Result<NodeChanges> {
        forward!(self, cx, Wait, "node.changes", None, changes(after))
    }

    async fn open(&self, cx: &CallCx, vm: VmId, call: &GuestCall) -> Result<GuestIoBox> {
        forward!(self, cx, Change, "node.open", Some(vm), open(vm, call))
    }

    async fn console_log(&self, cx: &CallCx, vm: VmId, max: usize) -> Result<Vec<u8>> {
        forward!(self, cx, Read, "node.console_log", Some(vm), console_log(vm, max))
    }

    async fn console(&self, cx: &CallCx, vm: VmId, tail: usize) -> Result<ConsoleBox> {
        forward!(self, cx, Read, "node.console", Some(vm), console(vm, tail))
    }

    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<()> {
        forward!(self, cx, Change, "node.ensure_image", None, ensure_image(bundle))
    }

    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<()> {
        forward!(self, cx, Change, "node.ensure_image_absent", None, ensure_image_absent(id))
    }

    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
        forward!(self, cx, Read, "node.images", None, images())
    }
}
