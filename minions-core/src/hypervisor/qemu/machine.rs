//! One VM's monitor: what is there, what it says.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::command;
use super::console;
use super::places::Places;
use super::wire::Qmp;
use super::{QemuHypervisor, Turn};
use crate::host::process::Process;
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::log::{self, LAST_WORDS};
use crate::hypervisor::process;
use crate::hypervisor::{VmmConfig, VmmPhase, VmmStatus, folder};
use crate::types::{Fences, UnixMillis, VmId};

/// How long the last words of a guest may take to be heard.
const MOMENT_OF_SILENCE: Duration = Duration::from_secs(2);

/// The handle of one VM's monitor; holds nothing.
#[derive(Debug)]
pub(super) struct Machine {
    pub hypervisor: QemuHypervisor,
    pub id: VmId,
    pub places: Places,
}

/// The processes of a monitor, as far as they are alive.
#[derive(Debug)]
pub(super) struct Pair {
    pub monitor: Option<Process>,
    pub helper: Option<Process>,
    /// Whether the one is nothing without the other.
    helped: bool,
}

impl Pair {
    /// QEMU, where it has all that it needs.
    pub fn whole(&self) -> Option<&Process> {
        self.monitor.as_ref().filter(|_| self.helper.is_some() || !self.helped)
    }
}

impl Machine {
    pub fn new(hypervisor: QemuHypervisor, id: VmId, places: Places) -> Self {
        Self { hypervisor, id, places }
    }

    /// Who holds the keys.
    pub async fn pair(&self) -> Result<Pair, MonitorError> {
        let keys = [self.places.monitor_key(), self.places.helper_key()];
        let found = self.hypervisor.0.keys.holders(keys).await;
        let [monitor, helper] = found.map_err(MonitorError::io("find the processes of a VM"))?;
        let words = monitor.as_ref().map(|monitor| self.words(monitor)).transpose()?.flatten();
        Ok(Pair { monitor, helper, helped: words.is_some_and(|words| command::is_helped(&words)) })
    }

    /// A conversation with the monitor, in turn.
    pub async fn talk<T>(
        &self,
        talk: impl AsyncFnOnce(&mut Qmp) -> Result<T, MonitorError>,
    ) -> Result<T, MonitorError> {
        let _turn = self.hypervisor.turn(self.id, Turn::Talk).await;
        let stream = UnixStream::connect(self.places.qmp()).await.map_err(|error| match error.kind() {
            // Those who gave up waiting for an answer are still in its queue, which has no place left.
            io::ErrorKind::WouldBlock => MonitorError::Mute,
            _ => MonitorError::Closed,
        })?;
        talk(&mut Qmp::begin(stream).await?).await
    }

    /// What the monitor says of itself.
    pub async fn phase(&self) -> Result<VmmPhase, MonitorError> {
        self.talk(async |qmp| qmp.phase().await).await
    }

    /// The same, when it is seen for the first time after another daemon: whoever was attached through that one is gone.
    async fn settled_phase(&self) -> Result<VmmPhase, MonitorError> {
        self.talk(async |qmp| {
            self.settle(qmp).await?;
            qmp.phase().await
        })
        .await
    }

    /// The epoch of a live monitor.
    pub fn epoch(&self, monitor: &Process) -> Result<Option<u64>, MonitorError> {
        Ok(self.words(monitor)?.and_then(|words| command::epoch_of(&words, self.id)))
    }

    /// The words that a monitor was started with; `None` where it is gone in the meantime.
    fn words(&self, monitor: &Process) -> Result<Option<Vec<String>>, MonitorError> {
        process::words(monitor).map_err(MonitorError::io("read the words of a monitor"))
    }

    pub async fn status(&self) -> Result<Option<VmmStatus>, MonitorError> {
        let pair = self.pair().await?;
        if let Some(monitor) = pair.whole()
            && let Some(words) = self.words(monitor)?
            && let Some(epoch) = command::epoch_of(&words, self.id)
        {
            let size = command::size_of(&words);
            let fences = monitor.fences().map_err(MonitorError::io("read what keeps a monitor apart"))?;
            let since = monitor.since().map_err(MonitorError::io("read when a monitor was started"));
            match (self.settled_phase().await, since) {
                (Ok(phase), Ok(since)) => return Ok(Some(VmmStatus { epoch, phase, since, size, fences })),
                (Err(error), _) | (_, Err(error)) => {
                    // It may have died under our eyes.
                    if self.pair().await?.whole().is_some() {
                        // One that stands still is there all the same, with its disks open: whoever is to end it must
                        // hear of it. Whether its guest lives is for the guest channel to find out.
                        return match (error, monitor.since()) {
                            (MonitorError::Mute, Ok(since)) => {
                                Ok(Some(VmmStatus { epoch, phase: VmmPhase::Running, since, size, fences }))
                            }
                            (error, _) => Err(error),
                        };
                    }
                }
            }
        }
        self.remains()
    }

    /// What is left of a dead monitor.
    fn remains(&self) -> Result<Option<VmmStatus>, MonitorError> {
        if !folder::any(self.places.dir()).map_err(MonitorError::io("look at what is left of a VM"))? {
            return Ok(None);
        }
        let epoch = match std::fs::read_to_string(self.places.epoch()) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(source) => return Err(MonitorError::Io { what: "read what is left of a VM", source }),
        };
        Ok(Some(VmmStatus {
            epoch,
            phase: VmmPhase::Exited,
            since: UnixMillis(0),
            size: None,
            fences: Fences::default(),
        }))
    }

    /// Lets a prepared or halted guest run. A running one is left alone.
    pub async fn boot(&self) -> Result<(), MonitorError> {
        self.talk(async |qmp| {
            if matches!(qmp.phase().await?, VmmPhase::Prepared | VmmPhase::Paused) {
                qmp.ask("cont", Value::Null).await?;
            }
            Ok(())
        })
        .await
    }

    /// Halts a guest that runs.
    pub async fn pause(&self) -> Result<(), MonitorError> {
        self.guest_of(None).await?;
        self.talk(async |qmp| match qmp.phase().await? {
            VmmPhase::Paused => Ok(()),
            VmmPhase::Running => qmp.ask("stop", Value::Null).await.map(drop),
            VmmPhase::Prepared | VmmPhase::Exited => Err(MonitorError::NoGuest { id: self.id }),
        })
        .await
    }

    /// Shows a guest that runs how large its disks are now.
    pub async fn show_disks(&self, config: &VmmConfig) -> Result<(), MonitorError> {
        self.guest_of(Some(config.epoch)).await?;
        let mut sizes = Vec::new();
        for (index, disk) in config.disks.iter().enumerate() {
            let path = disk.path.clone();
            let size = tokio::task::spawn_blocking(move || crate::host::files::size_of(&path)).await;
            let size = size.map_err(io::Error::other).flatten().map_err(MonitorError::io("measure a disk"))?;
            sizes.push(json!({ "node-name": format!("d{index}"), "size": size }));
        }
        self.talk(async |qmp| {
            if !matches!(qmp.phase().await?, VmmPhase::Running | VmmPhase::Paused) {
                return Err(MonitorError::NoGuest { id: self.id });
            }
            for size in sizes {
                qmp.ask("block_resize", size).await?;
            }
            Ok(())
        })
        .await
    }

    /// There is a monitor, of this epoch where one is given.
    async fn guest_of(&self, epoch: Option<u64>) -> Result<(), MonitorError> {
        let monitor = self.pair().await?.monitor.ok_or(MonitorError::NoGuest { id: self.id })?;
        let have = self.epoch(&monitor)?;
        if have.is_none() || epoch.is_some() && have != epoch {
            return Err(MonitorError::NoGuest { id: self.id });
        }
        Ok(())
    }

    pub async fn wait_exit(&self) -> Result<(), MonitorError> {
        let pair = self.pair().await?;
        if let Some(monitor) = pair.whole() {
            let helper_ends = async {
                match &pair.helper {
                    Some(helper) => helper.exited().await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = monitor.exited() => ended,
                ended = helper_ends => ended,
                () = self.guest_ends() => Ok(()),
            };
            ended.map_err(MonitorError::io("wait for the end of a monitor"))?;
        }
        Ok(())
    }

    /// Until the guest has ended, and its monitor stands still. A monitor that cannot be heard is one that ends, which
    /// others see.
    pub async fn guest_ends(&self) {
        let heard = match UnixStream::connect(self.places.events()).await {
            Ok(stream) => Qmp::guest_ends(stream).await.is_ok(),
            Err(_) => false,
        };
        if !heard {
            std::future::pending().await
        }
    }

    /// Keeps what a guest said last, before its monitor goes and the log with it.
    pub async fn keep_last_words(&self, alive: bool) {
        let said = tokio::time::timeout(MOMENT_OF_SILENCE, async {
            // One that is ended from outside has no last words, but what was read of it before.
            if alive && self.phase().await? == VmmPhase::Exited {
                self.drain().await?;
            }
            self.said(LAST_WORDS).await
        });
        match said.await {
            Ok(Ok(said)) => self.hypervisor.last_words().keep(self.id, said),
            // Not worth a wait: the monitor is to go.
            Ok(Err(error)) => tracing::debug!(vm = %self.id, %error, "a guest's last words were not heard"),
            Err(_) => tracing::debug!(vm = %self.id, "a guest's last words were not heard in time"),
        }
    }

    /// What guests of this VM said before, and behind it what the one that runs has said.
    pub async fn console(&self, max: usize) -> Result<Vec<u8>, MonitorError> {
        if self.pair().await?.monitor.is_some()
            && let Err(error) = self.drain().await
            && self.pair().await?.monitor.is_some()
        {
            return Err(error);
        }
        self.tail(max).await
    }

    /// The same, as far as it was read.
    pub async fn tail(&self, max: usize) -> Result<Vec<u8>, MonitorError> {
        let mut said = self.hypervisor.last_words().of(self.id);
        said.extend(self.said(max).await?);
        Ok(said.split_off(said.len().saturating_sub(max)))
    }

    /// All that the guest has said until now is in the file then.
    async fn drain(&self) -> Result<(), MonitorError> {
        let path = self.places.console();
        loop {
            if self.heard().await {
                return Ok(());
            }
            let drained = self.talk(async |qmp| {
                // Somebody may have attached while we waited for our turn.
                let ours = !self.hypervisor.lines().is_kept(self.id);
                if ours {
                    self.settle(qmp).await?;
                    console::drain(qmp, &path).await?;
                }
                Ok(ours)
            });
            if drained.await? {
                return Ok(());
            }
        }
    }

    /// The end of what was read of the log.
    async fn said(&self, max: usize) -> Result<Vec<u8>, MonitorError> {
        let path = self.places.console();
        let read = tokio::task::spawn_blocking(move || log::tail(&path, max)).await;
        read.map_err(io::Error::other).flatten().map_err(MonitorError::io("read the serial log"))
    }

    /// Asks the guest to go by its power button.
    pub async fn power_button(&self) -> Result<(), MonitorError> {
        self.talk(async |qmp| qmp.ask("system_powerdown", Value::Null).await.map(drop)).await
    }

    /// Ends the monitor in good order: what it holds of the disks' bytes is written.
    pub async fn quit(&self) -> Result<(), MonitorError> {
        self.talk(async |qmp| match qmp.ask("quit", json!({})).await {
            Ok(_) | Err(MonitorError::Closed) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}
