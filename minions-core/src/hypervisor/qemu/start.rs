//! Starts a monitor: the helper first, then QEMU, both in the hands of their keys.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;

use super::Turn;
use super::command;
use super::machine::Machine;
use super::vsock::{self, Vsock};
use super::wire::Qmp;
use crate::host::spawn::Spawned;
use crate::host::{files, inotify};
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::process::{Listens, NotStarted, PATIENCE, Start, listens, missing};
use crate::hypervisor::{VmmConfig, VmmPhase, initrd};
use crate::types::StepReport;

impl Machine {
    /// The monitor is up with this configuration.
    pub async fn start(&self, config: &VmmConfig) -> Result<StepReport, MonitorError> {
        let pair = self.pair().await?;
        if let Some(monitor) = pair.whole()
            && let Some(have) = self.epoch(monitor)?
        {
            let phase = if have == config.epoch { self.ready().await } else { self.phase().await };
            match phase {
                // Its guest has ended: it is cleared away like a dead one.
                Ok(VmmPhase::Exited) => {}
                _ if have != config.epoch => return Err(MonitorError::Epoch { id: self.id, have, want: config.epoch }),
                phase => return phase.map(|_| StepReport::empty()),
            }
        }
        self.clear().await?;
        present(config)?;
        let clock = &self.hypervisor.0.env.clock;
        let begin = clock.monotonic();
        self.prepare(config).await?;
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let mut report = StepReport::empty();
        let device = match &self.hypervisor.0.config.vsock {
            Vsock::Helper(program) => {
                let device = self.start_helper(config, program).await?;
                report = report.with("vsock_helper", micros(clock.monotonic().saturating_sub(begin)));
                device
            }
            Vsock::Kernel(device) => vsock::claim(device, config.cid)?,
        };
        let device_up = clock.monotonic();
        self.start_monitor(config, device).await?;
        Ok(report.with("monitor", micros(clock.monotonic().saturating_sub(device_up))))
    }

    /// One that is alive may have been started a moment ago by a call that was given up: wait until it listens.
    async fn ready(&self) -> Result<VmmPhase, MonitorError> {
        let stream = tokio::time::timeout(PATIENCE, inotify::connect_when_there(&self.places.qmp())).await;
        stream.map_err(|_| MonitorError::Mute)?.map_err(|_| MonitorError::Closed)?;
        self.phase().await
    }

    /// The folder, the note of the epoch, and the initrd of this boot.
    async fn prepare(&self, config: &VmmConfig) -> Result<(), MonitorError> {
        let (places, config) = (self.places.clone(), config.clone());
        let work = move || {
            let io = MonitorError::io("make the folder of a VM");
            files::make_dir(places.dir()).map_err(&io)?;
            files::replace_volatile(&places.epoch(), config.epoch.to_string().as_bytes(), 0o600).map_err(&io)?;
            let mut image = files::open_read(&config.boot.initrd).map_err(MonitorError::io("read the initrd"))?;
            initrd::write(&mut image, &config.secret, &places.initrd()).map_err(MonitorError::io("write the initrd"))
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| MonitorError::Io { what: "make the folder of a VM", source: io::Error::other(error) })?
    }

    /// The connection to the helper that is the guest's VSOCK device.
    async fn start_helper(&self, config: &VmmConfig, program: &Path) -> Result<File, MonitorError> {
        let words = command::helper(config, &self.places);
        let program = program.to_owned();
        let spawned = self.spawn("the VSOCK helper", program, words, self.places.helper_key(), None).await?;
        let io = MonitorError::io("hand the VSOCK device to the monitor");
        let vhost = first_of("the VSOCK helper", &spawned, &self.places.vhost()).await?.into_std().map_err(&io)?;
        vhost.set_nonblocking(false).map_err(&io)?;
        Ok(File::from(OwnedFd::from(vhost)))
    }

    async fn start_monitor(&self, config: &VmmConfig, device: File) -> Result<(), MonitorError> {
        let user = self.hypervisor.0.own_users.then_some(config.uid).filter(|uid| *uid != 0);
        let accel = self.hypervisor.0.config.accel;
        let helper = matches!(self.hypervisor.0.config.vsock, Vsock::Helper(_));
        let words = command::monitor(config, &self.places, accel, user, self.hypervisor.0.vhost_net, helper)?;
        let program = self.hypervisor.0.config.qemu.clone();
        let _turn = self.hypervisor.turn(self.id, Turn::Talk).await;
        let spawned = self.spawn("the monitor", program, words, self.places.monitor_key(), Some(device)).await?;
        let stream = first_of("the monitor", &spawned, &self.places.qmp()).await?;
        let talk = async { Qmp::begin(stream).await?.ask("query-status", Value::Null).await };
        match talk.await {
            // Whoever ends right after listening has said why.
            Err(MonitorError::Closed) => Err(MonitorError::Died { what: "the monitor", said: spawned.errors() }),
            answered => {
                self.hypervisor.lines().note_settled(self.id);
                answered.map(drop)
            }
        }
    }

    async fn spawn(
        &self,
        what: &'static str,
        program: PathBuf,
        args: Vec<OsString>,
        key: PathBuf,
        output: Option<File>,
    ) -> Result<Spawned, MonitorError> {
        let start = Start { program, args, dir: self.places.dir().to_owned(), key, output };
        self.hypervisor.0.keys.start(start).await.map_err(|error| match error {
            NotStarted::Key(source) => MonitorError::Io { what: "take the key of a VM", source },
            NotStarted::Program(source) => MonitorError::Died { what, said: source.to_string() },
        })
    }
}

/// The connection to the socket that a process makes, or the reason why it never will.
async fn first_of(what: &'static str, spawned: &Spawned, socket: &Path) -> Result<UnixStream, MonitorError> {
    match listens(&spawned.process, socket).await {
        Ok(Listens::Reached(stream)) => Ok(stream),
        Ok(Listens::Died) => Err(MonitorError::Died { what, said: spawned.errors() }),
        Ok(Listens::Mute) => Err(MonitorError::Mute),
        Err(source) => Err(MonitorError::Io { what: "reach a process that was started", source }),
    }
}

/// Nothing is started for a VM whose files are not there.
fn present(config: &VmmConfig) -> Result<(), MonitorError> {
    match missing(config).map_err(MonitorError::io("look at a VM's files"))? {
        Some((what, path)) => Err(MonitorError::Missing { what, path }),
        None => Ok(()),
    }
}
