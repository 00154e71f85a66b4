//! Starts a monitor in the hands of its key, and lets its guest run.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, openat};

use super::Turn;
use super::command;
use super::fence::Fence;
use super::machine::{Machine, Monitor, phase_of};
use super::wire::{Api, State};
use crate::host::{files, inotify, socket};
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::process::{Listens, NotStarted, PATIENCE, Start, listens, missing};
use crate::hypervisor::{VmmConfig, VmmPhase, initrd};
use crate::types::{NicBackend, StepReport};

impl Machine {
    /// The monitor is up for this epoch. Whether its guest runs is told. `early`: its disks need not be there yet.
    pub async fn start(&self, config: &VmmConfig, early: bool) -> Result<(VmmPhase, StepReport), MonitorError> {
        if let Some(monitor) = self.monitor().await? {
            let phase = if monitor.epoch == config.epoch {
                self.ready(&monitor).await
            } else {
                self.info(&monitor).await.map(|info| phase_of(info.as_ref()))
            };
            let blind = || !self.fence(config).sees(monitor.process.pid(), config);
            match phase {
                // Its guest has ended: it is cleared away like a dead one.
                Ok(VmmPhase::Exited) => {}
                // Nothing is lost with one that was started before its disks were made.
                Ok(VmmPhase::Prepared) if monitor.epoch == config.epoch && blind() => {}
                _ if monitor.epoch != config.epoch => {
                    return Err(MonitorError::Epoch { id: self.id, have: monitor.epoch, want: config.epoch });
                }
                phase => return phase.map(|phase| (phase, StepReport::empty())),
            }
        }
        self.clear().await?;
        present(config, early)?;
        let clock = &self.hypervisor.0.env.clock;
        let begin = clock.monotonic();
        self.prepare(config).await?;
        self.spawn(config).await?;
        let micros = u64::try_from(clock.monotonic().saturating_sub(begin).as_micros()).unwrap_or(u64::MAX);
        Ok((VmmPhase::Prepared, StepReport::empty().with("monitor", micros)))
    }

    /// One that is alive may have been started a moment ago by a call that was given up: wait until it listens.
    async fn ready(&self, monitor: &Monitor) -> Result<VmmPhase, MonitorError> {
        let stream = tokio::time::timeout(PATIENCE, inotify::connect_when_there(&monitor.api)).await;
        let stream = stream.map_err(|_| MonitorError::Mute)?.map_err(|_| MonitorError::Closed)?;
        socket::answers(&stream, monitor.process.pid()).map_err(|_| MonitorError::Closed)?;
        self.info(monitor).await.map(|info| phase_of(info.as_ref()))
    }

    /// What keeps the monitor apart from this host.
    fn fence(&self, config: &VmmConfig) -> Fence {
        let inner = &self.hypervisor.0;
        Fence::of(config, &self.places, &inner.config.program, &inner.means)
    }

    /// The folder, and the note of the epoch.
    async fn prepare(&self, config: &VmmConfig) -> Result<(), MonitorError> {
        let (places, config, fence) = (self.places.clone(), config.clone(), self.fence(config));
        let work = move || {
            files::make_dir(places.dir())?;
            files::replace_volatile(&places.epoch(), config.epoch.to_string().as_bytes(), 0o600)?;
            files::absent(&places.events())?;
            mkfifoat(CWD, places.events(), Mode::RUSR | Mode::WUSR)?;
            fence.prepare(&config, &places)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(io::Error::other).flatten().map_err(MonitorError::io("make the folder of a VM"))
    }

    /// The process, until it answers.
    async fn spawn(&self, config: &VmmConfig) -> Result<(), MonitorError> {
        // For reading and writing: there at once, and never without a reader.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let events = openat(CWD, self.places.events(), flags, Mode::empty());
        let events =
            events.map_err(|error| MonitorError::Io { what: "open the pipe of events", source: error.into() })?;
        let host = &self.hypervisor.0;
        let (program, args) = (host.config.program.clone(), command::monitor(config, &self.places));
        let (program, args) = match &host.config.jail {
            Some(jail) => self.fence(config).words(config, jail, &program, args, host.env.clock.wall().0),
            None => (program, args),
        };
        let start = Start {
            program,
            args,
            dir: self.places.dir().to_owned(),
            key: self.places.key(),
            output: Some(File::from(events)),
        };
        let _turn = self.hypervisor.turn(self.id, Turn::Talk).await;
        let spawned = self.hypervisor.0.keys.start(start).await.map_err(|error| match error {
            NotStarted::Key(source) => MonitorError::Io { what: "take the key of a VM", source },
            NotStarted::Program(source) => MonitorError::Died { what: "the monitor", said: source.to_string() },
        })?;
        let died = || MonitorError::Died { what: "the monitor", said: spawned.errors() };
        let stream = match listens(&spawned.process, &self.places.api(config.epoch)).await {
            Ok(Listens::Reached(stream)) => stream,
            Ok(Listens::Died) => return Err(died()),
            Ok(Listens::Mute) => return Err(MonitorError::Mute),
            Err(source) => return Err(MonitorError::Io { what: "reach a process that was started", source }),
        };
        match async { Api::over(stream).await?.ping().await }.await {
            // Whoever ends right after listening has said why.
            Err(MonitorError::Closed) => Err(died()),
            answered => answered.map(drop),
        }
    }

    /// Makes the VM in a prepared monitor and lets its guest run. One that runs is left alone.
    ///
    /// A monitor that could not do it is of no use for a second try, since its VM can be made only once: it is ended.
    pub async fn boot(&self, config: &VmmConfig) -> Result<StepReport, MonitorError> {
        let monitor = self.monitor().await?.ok_or(MonitorError::NoMonitor { id: self.id })?;
        let begin = self.hypervisor.0.env.clock.monotonic();
        let booted = self.booted(config, &monitor).await;
        if booted.is_err() {
            self.clear().await?;
        }
        booted?;
        let took: Duration = self.hypervisor.0.env.clock.monotonic().saturating_sub(begin);
        Ok(StepReport::empty().with("boot", u64::try_from(took.as_micros()).unwrap_or(u64::MAX)))
    }

    async fn booted(&self, config: &VmmConfig, monitor: &Monitor) -> Result<(), MonitorError> {
        present(config, false)?;
        let vm = command::vm(config, &self.places, self.hypervisor.0.means.has_landlock())?;
        self.write_initrd(config).await?;
        let (make, of) = self.made_of(config, vm).await?;
        self.talk(monitor, async |api| {
            if api.info().await?.is_none() {
                api.put_slowly(make, Some(&of)).await?;
            }
            Ok(())
        })
        .await?;
        // Before the guest says its first word.
        self.hear(monitor).await;
        self.talk(monitor, async |api| match api.info().await?.map(|info| info.state) {
            Some(State::Created) => api.put_slowly("vm.boot", None).await,
            Some(State::Paused) => api.put_slowly("vm.resume", None).await,
            _ => Ok(()),
        })
        .await
    }

    async fn write_initrd(&self, config: &VmmConfig) -> Result<(), MonitorError> {
        let (to, boot, secret) = (self.places.initrd(), config.boot.clone(), config.secret.clone());
        let fence = self.fence(config);
        let work = move || {
            initrd::write(&mut files::open_read(&boot.initrd)?, &secret, &to)?;
            fence.hand_over(&to)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(io::Error::other).flatten().map_err(MonitorError::io("write the initrd"))
    }
}

/// Nothing is started for a VM whose files or network port are not there.
fn present(config: &VmmConfig, early: bool) -> Result<(), MonitorError> {
    if let Some(NicBackend::Tap(tap)) = config.nic.as_ref().map(|nic| &nic.backend) {
        let path = Path::new("/sys/class/net").join(tap.as_str());
        if !early && !path.exists() {
            return Err(MonitorError::Missing { what: "network port", path });
        }
    }
    match missing(config).map_err(MonitorError::io("look at a VM's files"))? {
        Some((what, path)) if !early || what != "disk" => Err(MonitorError::Missing { what, path }),
        _ => Ok(()),
    }
}
