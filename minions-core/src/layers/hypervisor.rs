//! Forwards the port Hypervisor.

use std::path::Path;

use async_trait::async_trait;

use super::{Layered, forward};
use crate::env::CallCx;
use crate::error::Result;
use crate::hypervisor::{ConsoleBox, Hypervisor, HypervisorCapabilities, VmmConfig, VmmStatus};
use crate::types::{StepReport, StopHow, VmId};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Hypervisor + ?Sized> Hypervisor for Layered<P> {
    fn capabilities(&self) -> HypervisorCapabilities {
        self.inner.capabilities()
    }

    async fn ensure_process(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        forward!(self, cx, Change, "hypervisor.ensure_process", Some(config.id), ensure_process(config))
    }

    async fn ensure_running(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        forward!(self, cx, Change, "hypervisor.ensure_running", Some(config.id), ensure_running(config))
    }

    async fn ensure_paused(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        forward!(self, cx, Change, "hypervisor.ensure_paused", Some(id), ensure_paused(id))
    }

    async fn ensure_captured(&self, cx: &CallCx, id: VmId, folder: &Path) -> Result<StepReport> {
        forward!(self, cx, Change, "hypervisor.ensure_captured", Some(id), ensure_captured(id, folder))
    }

    async fn ensure_disks(&self, cx: &CallCx, config: &VmmConfig) -> Result<StepReport> {
        forward!(self, cx, Change, "hypervisor.ensure_disks", Some(config.id), ensure_disks(config))
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId, how: &StopHow) -> Result<StepReport> {
        forward!(self, cx, Change, "hypervisor.ensure_absent", Some(id), ensure_absent(id, how))
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<Option<VmmStatus>> {
        forward!(self, cx, Read, "hypervisor.observe", Some(id), observe(id))
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        forward!(self, cx, Read, "hypervisor.list", None, list())
    }

    async fn wait_exit(&self, cx: &CallCx, id: VmId) -> Result<()> {
        forward!(self, cx, Wait, "hypervisor.wait_exit", Some(id), wait_exit(id))
    }

    async fn console_log(&self, cx: &CallCx, id: VmId, max: usize) -> Result<Vec<u8>> {
        forward!(self, cx, Read, "hypervisor.console_log", Some(id), console_log(id, max))
    }

    async fn console(&self, cx: &CallCx, id: VmId, tail: usize) -> Result<ConsoleBox> {
        forward!(self, cx, Read, "hypervisor.console", Some(id), console(id, tail))
    }
}
