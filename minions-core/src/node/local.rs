//! The node of this very machine: the engine and the ports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Node, NodeChanges, NodeInfo, NodeVm, Settled};
use crate::engine::{Engine, EngineConfig, Ports};
use crate::env::{CallCx, Env};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::{GuestChannelExt, GuestIoBox};
use crate::hypervisor::ConsoleBox;
use crate::store::{Accepted, GoalEntry};
use crate::types::{HostId, ImageBundle, ImageId, ImageInfo, VmId, VmState, check_tag};

/// How long whoever wants to enter a VM waits for its start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The node of this machine.
#[derive(Debug)]
pub struct LocalNode {
    host: HostId,
    engine: Engine,
    env: Env,
}

impl LocalNode {
    /// Sets aside what no row explains, then takes up every row.
    ///
    /// # Errors
    /// A journal that cannot be read, or one that explains nothing of a host that is not empty: `Denied` reason
    /// `journal_lost`. A sweep that fails otherwise is made up for later.
    pub async fn start(host: HostId, ports: Ports, env: Env, config: EngineConfig) -> Result<Arc<Self>> {
        let engine = Engine::start(ports, env.clone(), config).await?;
        Ok(Arc::new(Self { host, engine, env }))
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

#[async_trait]
impl Node for LocalNode {
    async fn info(&self, cx: &CallCx) -> Result<NodeInfo> {
        let ports = self.engine.ports();
        Ok(NodeInfo {
            host: self.host,
            hypervisor: ports.hypervisor.capabilities(),
            storage: ports.storage.capabilities(),
            usage: ports.storage.usage(cx).await?,
            network: ports.network.capabilities(),
            guest: ports.guest.capabilities(),
            vms: self.engine.board().len(),
            quarantined: u64::try_from(ports.storage.quarantined(cx).await?.len()).unwrap_or(u64::MAX),
        })
    }

    async fn apply(&self, cx: &CallCx, entry: &GoalEntry) -> Result<NodeVm> {
        match self.engine.apply(cx, entry).await? {
            Accepted::Row(_) => {
                self.engine.board().get(entry.vm).ok_or_else(|| Error::internal("an accepted VM is not on the board"))
            }
            Accepted::Gone => Ok(self.gone(entry)),
        }
    }

    async fn observe(&self, cx: &CallCx, vm: VmId) -> Result<Option<NodeVm>> {
        if let Some(known) = self.engine.board().get(vm) {
            return Ok(Some(known));
        }
        // A row that the engine has not looked at yet, just after a start.
        if self.engine.ports().journal.row(cx, vm).await?.is_some() {
            self.engine.nudge(vm);
            return Err(Error::new(ErrorKind::Unavailable, "the host is still looking at this VM; try again"));
        }
        Ok(None)
    }

    async fn changes(&self, cx: &CallCx, after: u64) -> Result<NodeChanges> {
        let board = self.engine.board();
        match tokio::time::timeout_at(cx.deadline, board.changes(after)).await {
            Ok(page) => Ok(page),
            Err(_) => Ok(board.after(after)),
        }
    }

    async fn open(&self, cx: &CallCx, vm: VmId, call: &crate::api::guest::GuestCall) -> Result<GuestIoBox> {
        // One that was just asked for, that boots, or that this process has not taken up again is there in a moment.
        let started = tokio::time::timeout(PATIENCE, self.engine.board().past_starting(vm)).await;
        let row = self.engine.ports().journal.row(cx, vm).await?;
        let row = row.ok_or_else(|| Error::not_found("there is no such VM on this host"))?;
        started.map_err(|_| still_starting())?;
        self.engine.ports().guest.open(cx, vm, &row.lease.secret, call).await
    }

    async fn console_log(&self, cx: &CallCx, vm: VmId, max: usize) -> Result<Vec<u8>> {
        self.engine.ports().hypervisor.console_log(cx, vm, max).await
    }

    async fn console(&self, cx: &CallCx, vm: VmId, tail: usize) -> Result<ConsoleBox> {
        let hypervisor = &self.engine.ports().hypervisor;
        match hypervisor.console(cx, vm, tail).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            attached => return attached,
        }
        // It has no monitor yet. A boot is worth watching, but nobody says when there is one: wait for its end.
        let started = tokio::time::timeout(PATIENCE, self.engine.board().past_starting(vm)).await;
        match hypervisor.console(cx, vm, tail).await {
            Err(error) if error.kind() == ErrorKind::NotFound && started.is_err() => Err(still_starting()),
            attached => attached,
        }
    }

    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<()> {
        // Here and not in each storage: whatever its name is, it gets this far.
        check_tag(&bundle.name)?;
        self.engine.ports().storage.ensure_image(cx, bundle).await.map(drop)
    }

    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<()> {
        // A stopped VM needs its kernel again, and one that is being made its root: rows count, not only volumes.
        let mut after = None;
        loop {
            let rows = self.engine.ports().journal.rows(cx, after, 500).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.entry.vm);
            if let Some(row) = rows.iter().find(|row| row.entry.spec.image == id) {
                let message = format!("the VM {} needs this image; destroy it first", row.entry.hostname);
                return Err(Error::new(ErrorKind::Conflict, message).with_reason("image_in_use"));
            }
        }
        self.engine.ports().storage.ensure_image_absent(cx, id).await.map(drop)
    }

    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
        self.engine.ports().storage.images(cx).await
    }
}

fn still_starting() -> Error {
    let message = "the VM is still starting; try again in a moment, or look at its console log";
    Error::new(ErrorKind::Unavailable, message).with_reason("starting")
}

impl LocalNode {
    fn gone(&self, entry: &GoalEntry) -> NodeVm {
        let now = self.env.clock.wall();
        NodeVm {
            vm: entry.vm,
            generation: entry.generation,
            goal: entry.goal,
            state: VmState::Deleting,
            reason: None,
            since: now,
            last_progress: now,
            settled: Some(Settled::Gone),
            ip: None,
            restarts: 0,
            size: None,
            fences: None,
            marks: Vec::new(),
        }
    }
}
