//! The guests of a simulated host: tasks that live as long as their monitor, and answer the agent's protocol.

mod exec;
mod files;
mod forward;
mod fs;
mod info;
mod input;
mod output;
mod programs;
mod ready;
mod script;
mod serial;
mod session;
mod shell;
mod ssh_files;
mod tar;
mod terminal;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hmac_sha256::Hash;
use tokio::io::DuplexStream;

use super::InMemoryHost;
use super::behaviour::GuestBehaviour;
use super::model::{Model, Monitor};
use crate::api::guest::Nonce;
use crate::api::guest::handshake::AgentIdentity;
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

    /// Looks at the model, as long as this very monitor lives.
    fn with<T>(&self, look: impl FnOnce(&mut Model) -> Result<T>) -> Result<T> {
        let gone = || Error::new(ErrorKind::Unavailable, "the machine is off");
        let model = self.host.upgrade().ok_or_else(gone)?;
        let host = InMemoryHost { model };
        let mut model = host.lock();
        if model.monitors.get(&self.id).is_none_or(|monitor| monitor.pid != self.pid) {
            return Err(gone());
        }
        look(&mut model)
    }

    fn monitor<T>(&self, look: impl FnOnce(&mut Monitor) -> T) -> Result<T> {
        self.with(|model| {
            let monitor = model.monitors.get_mut(&self.id);
            monitor.map(look).ok_or_else(|| Error::new(ErrorKind::Unavailable, "the machine is off"))
        })
    }

    /// The monitor ends, as when the guest powers off.
    fn end(&self) {
        // Where it has ended already there is nothing to do.
        let _ = self.with(|model| Ok(model.end_monitor(self.id)));
    }

    /// The guest asks itself to end, as it would when it is told to.
    fn shut_down(&self) {
        let _ = self.with(|model| {
            let behaviour = model.behaviour(self.id).clone();
            let machine = self.clone();
            if let Some(monitor) = model.monitors.get_mut(&self.id).filter(|_| !behaviour.ignores_shutdown) {
                monitor.run(machine.ends_after(behaviour.shutdown));
            }
            Ok(())
        });
    }

    async fn ends_after(self, time: Duration) {
        tokio::time::sleep(time).await;
        self.end();
    }

    fn hostname(&self) -> Result<String> {
        self.monitor(|monitor| monitor.hostname.clone())
    }

    /// What the agent says of itself in every hello of this boot.
    fn identity(&self) -> Result<AgentIdentity> {
        let wrong = self.with(|model| Ok(model.behaviour(self.id).wrong_secret))?;
        let secret = self.monitor(|monitor| monitor.config.secret.clone())?;
        let secret = match wrong {
            true => crate::types::AgentSecret::from_bytes(Hash::hash(secret.expose())),
            false => secret,
        };
        let boot = Hash::hash(format!("{} {}", self.id, self.pid).as_bytes());
        Ok(AgentIdentity {
            secret,
            boot_nonce: Nonce::from_bytes(boot),
            agent_version: concat!(env!("CARGO_PKG_VERSION"), "-simulated").to_owned(),
        })
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
            monitor.run(machine.clone().ends_after(time));
        }
        if behaviour.says_ready {
            monitor.run(ready::announce(machine, behaviour.boot));
        }
    }

    /// The power button: the guest begins to end.
    pub(super) fn power_off(&self, monitor: &mut Monitor, time: Duration) {
        let machine = Machine::new(self, monitor.config.id, monitor.pid);
        monitor.run(machine.ends_after(time));
    }

    /// A connection from the host to a port in the guest.
    pub(super) fn dial(&self, id: VmId, port: u32) -> Result<GuestIoBox> {
        let mut model = self.lock();
        let Some(door) = model.doors.get(&id) else {
            return Err(Error::not_found(format!("{id} has no open door on this host")));
        };
        let door = door.alive.subscribe();
        let (max, behaviour) = (model.settings.limits.max_connections, model.behaviour(id).clone());
        let monitor = model
            .monitors
            .get_mut(&id)
            .filter(|monitor| monitor.phase == VmmPhase::Running)
            .ok_or_else(|| Error::not_found(format!("{id} does not run")))?;
        if port != AGENT_PORT || monitor.booted.elapsed() < behaviour.boot {
            return Err(Error::new(ErrorKind::Unavailable, format!("nobody answers on port {port} of {id}")));
        }
        if monitor.tasks.iter().filter(|task| !task.is_finished()).count() >= max {
            return Err(Error::new(ErrorKind::Exhausted, format!("{id} has {max} connections already")));
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let machine = Machine::new(self, id, monitor.pid);
        monitor.run(until_closed(door, machine.answer(theirs, behaviour.mute)));
        Ok(Box::new(ours))
    }
}

impl Machine {
    async fn answer(self, stream: DuplexStream, mute: bool) {
        if mute {
            // Holds the connection and says nothing, until the monitor or the door is gone.
            std::future::pending::<()>().await;
        }
        if let Err(error) = session::serve(&self, stream).await {
            tracing::debug!(vm = %self.id, error = %error.chain(), "a connection of a simulated guest broke");
        }
    }
}

/// Runs work until it is done or the door that it came through is gone.
async fn until_closed(mut door: tokio::sync::watch::Receiver<()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = async { while door.changed().await.is_ok() {} } => {}
    }
}
