//! The guests of a simulated host: tasks that live as long as their monitor.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::InMemoryHost;
use super::behaviour::GuestBehaviour;
use super::model::{Model, Monitor};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::{AGENT_PORT, GuestIoBox};
use crate::hypervisor::VmmPhase;
use crate::types::VmId;

/// Bytes that a connection holds in each direction before its writer waits.
const PIPE: usize = 64 << 10;

/// A guest's way back to its host. It keeps neither the host nor its own monitor alive.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    host: Weak<Mutex<Model>>,
    id: VmId,
    pid: u32,
}

impl Machine {
    fn new(host: &InMemoryHost, id: VmId, pid: u32) -> Self {
        Self { host: Arc::downgrade(&host.model), id, pid }
    }

    /// The monitor ends, as when the guest powers off.
    fn end(&self) {
        let Some(model) = self.host.upgrade() else { return };
        let host = InMemoryHost { model };
        let mut model = host.lock();
        if model.monitors.get(&self.id).is_some_and(|monitor| monitor.pid == self.pid) {
            model.end_monitor(self.id);
        }
    }
}

impl Monitor {
    /// Runs something inside the guest, for as long as the monitor lives.
    fn run(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(tokio::spawn(work).abort_handle());
    }
}

impl InMemoryHost {
    /// The guest begins to boot.
    pub(super) fn power_on(&self, monitor: &mut Monitor, behaviour: &GuestBehaviour) {
        let machine = Machine::new(self, monitor.config.id, monitor.pid);
        if let Some(time) = behaviour.exits_after {
            monitor.run(async move {
                tokio::time::sleep(time).await;
                machine.end();
            });
        }
    }

    /// The guest begins to end.
    pub(super) fn power_off(&self, monitor: &mut Monitor, time: Duration) {
        let machine = Machine::new(self, monitor.config.id, monitor.pid);
        monitor.run(async move {
            tokio::time::sleep(time).await;
            machine.end();
        });
    }

    /// A connection from the host to a port in the guest.
    pub(super) fn dial(&self, id: VmId, port: u32) -> Result<GuestIoBox> {
        let mut model = self.lock();
        if !model.doors.contains_key(&id) {
            return Err(Error::not_found(format!("{id} has no open door on this host")));
        }
        let max = model.settings.limits.max_connections;
        let monitor = model
            .monitors
            .get_mut(&id)
            .filter(|monitor| monitor.phase == VmmPhase::Running)
            .ok_or_else(|| Error::not_found(format!("{id} does not run")))?;
        if port != AGENT_PORT {
            return Err(Error::new(ErrorKind::Unavailable, format!("nobody answers on port {port} of {id}")));
        }
        if monitor.tasks.iter().filter(|task| !task.is_finished()).count() >= max {
            return Err(Error::new(ErrorKind::Exhausted, format!("{id} has {max} connections already")));
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        monitor.run(async move { drop(theirs) });
        Ok(Box::new(ours))
    }
}
