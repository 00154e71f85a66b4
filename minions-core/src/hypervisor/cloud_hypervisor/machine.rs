//! One VM's monitor: what is there, what it says.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::command;
use super::places::Places;
use super::wire::{Api, Info, State};
use super::{CloudHypervisor, Turn};
use crate::host::files;
use crate::host::jail::{self, Means};
use crate::host::process::Process;
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::log::{self, LAST_WORDS};
use crate::hypervisor::process;
use crate::hypervisor::{VmmConfig, VmmPhase, VmmStatus, folder};
use crate::types::{ByteSize, Fences, UnixMillis, Vcpus, VmId, VmSize};

/// How long the last words of a guest may take to be heard.
const MOMENT_OF_SILENCE: Duration = Duration::from_secs(2);

/// The handle of one VM's monitor; holds nothing.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub hypervisor: CloudHypervisor,
    pub id: VmId,
    pub places: Places,
}

/// A live process in the hands of the key, and what its words say.
#[derive(Debug)]
pub(super) struct Monitor {
    pub process: Process,
    pub api: PathBuf,
    pub epoch: u64,
}

impl Machine {
    pub fn new(hypervisor: CloudHypervisor, id: VmId, places: Places) -> Self {
        Self { hypervisor, id, places }
    }

    /// Who holds the key.
    pub async fn holder(&self) -> Result<Option<Process>, MonitorError> {
        let found = self.hypervisor.0.keys.holders([self.places.key()]).await;
        let [holder] = found.map_err(MonitorError::io("find the process of a VM"))?;
        Ok(holder)
    }

    /// The live monitor.
    pub async fn monitor(&self) -> Result<Option<Monitor>, MonitorError> {
        let Some(process) = self.holder().await? else { return Ok(None) };
        let words = process::words(&process).map_err(MonitorError::io("read the words of a monitor"))?;
        // A process may write its own words: they are believed to be of this VM, and no more.
        let epoch = words.and_then(|words| command::api_of(&words, self.id)).map(|(_, epoch)| epoch);
        Ok(epoch.map(|epoch| Monitor { process, api: self.places.api(epoch), epoch }))
    }

    /// A conversation with the monitor, in turn.
    pub async fn talk<T>(
        &self,
        monitor: &Monitor,
        talk: impl AsyncFnOnce(&mut Api) -> Result<T, MonitorError>,
    ) -> Result<T, MonitorError> {
        let _turn = self.hypervisor.turn(self.id, Turn::Talk).await;
        talk(&mut Api::connect(&monitor.api, monitor.process.pid()).await?).await
    }

    /// What the monitor says of its VM.
    pub async fn info(&self, monitor: &Monitor) -> Result<Option<Info>, MonitorError> {
        self.talk(monitor, async |api| api.info().await).await
    }

    pub async fn status(&self) -> Result<Option<VmmStatus>, MonitorError> {
        let monitor = match self.monitor().await {
            // One that holds its key where nobody can see it is of no more use: it is told as dead, and will be ended.
            Err(error) if error.is_unseen() && self.has_members()? => None,
            monitor => monitor?,
        };
        if let Some(monitor) = monitor {
            let since = monitor.process.since().map_err(MonitorError::io("read when a monitor was started"));
            let epoch = monitor.epoch;
            match (self.info(&monitor).await, since) {
                (Ok(info), Ok(since)) => {
                    let fences = self.fences(&monitor, info.as_ref())?;
                    let (phase, size) = (phase_of(info.as_ref()), info.as_ref().map(size_of));
                    if matches!(phase, VmmPhase::Running | VmmPhase::Paused) {
                        // Another daemon's, most likely: from now on we hear what its guest says.
                        self.hear(&monitor).await;
                    }
                    return Ok(Some(VmmStatus { epoch, phase, since, size, fences }));
                }
                (Err(error), _) | (_, Err(error)) => {
                    // It may have died under our eyes.
                    if self.holder().await?.is_some() {
                        // One that stands still is there all the same, with its disks open: whoever is to end it must
                        // hear of it. Whether its guest lives is for the guest channel to find out.
                        return match (error, monitor.process.since()) {
                            (MonitorError::Mute, Ok(since)) => {
                                let fences = self.fences(&monitor, None)?;
                                Ok(Some(VmmStatus { epoch, phase: VmmPhase::Running, since, size: None, fences }))
                            }
                            (error, _) => Err(error),
                        };
                    }
                }
            }
        }
        self.remains()
    }

    /// What keeps it apart from this host; nothing where it has just died.
    fn fences(&self, monitor: &Monitor, info: Option<&Info>) -> Result<Fences, MonitorError> {
        let landlocked = info.is_some_and(|info| info.config.landlock_enable);
        match Means::fences(&monitor.process, landlocked) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(Fences::default()),
            fences => fences.map_err(MonitorError::io("read what keeps a monitor apart")),
        }
    }

    /// Whether anybody is in a control group of the VM's.
    fn has_members(&self) -> Result<bool, MonitorError> {
        let members = jail::members(&self.hypervisor.0.means.limiter, self.id);
        Ok(!members.map_err(MonitorError::io("look into a VM's control groups"))?.is_empty())
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
        let (phase, since, fences) = (VmmPhase::Exited, UnixMillis(0), Fences::default());
        Ok(Some(VmmStatus { epoch, phase, since, size: None, fences }))
    }

    /// Halts a guest that runs.
    pub async fn pause(&self) -> Result<(), MonitorError> {
        let monitor = self.monitor().await?.ok_or(MonitorError::NoGuest { id: self.id })?;
        self.talk(&monitor, async |api| match phase_of(api.info().await?.as_ref()) {
            VmmPhase::Paused => Ok(()),
            VmmPhase::Running => api.put_slowly("vm.pause", None).await,
            VmmPhase::Prepared | VmmPhase::Exited => Err(MonitorError::NoGuest { id: self.id }),
        })
        .await
    }

    /// Shows a guest how large its disks are now.
    pub async fn show_disks(&self, config: &VmmConfig) -> Result<(), MonitorError> {
        let monitor = self.monitor().await?.filter(|monitor| monitor.epoch == config.epoch);
        let monitor = monitor.ok_or(MonitorError::NoGuest { id: self.id })?;
        let mut sizes = Vec::new();
        for disk in &config.disks {
            let path = disk.path.clone();
            let size = tokio::task::spawn_blocking(move || files::size_of(&path)).await;
            let size = size.map_err(io::Error::other).flatten().map_err(MonitorError::io("measure a disk"))?;
            sizes.push(json!({ "id": command::disk_id(disk.role), "desired_size": size }));
        }
        self.talk(&monitor, async |api| {
            if !matches!(phase_of(api.info().await?.as_ref()), VmmPhase::Running | VmmPhase::Paused) {
                return Err(MonitorError::NoGuest { id: self.id });
            }
            for size in &sizes {
                api.put("vm.resize-disk", Some(size)).await?;
            }
            Ok(())
        })
        .await
    }

    /// A monitor ends with its guest.
    pub async fn wait_exit(&self) -> Result<(), MonitorError> {
        let Some(monitor) = self.monitor().await? else { return Ok(()) };
        // Whoever waits for its end wants to hear of a guest that starts itself anew, too.
        self.hear(&monitor).await;
        monitor.process.exited().await.map_err(MonitorError::io("wait for the end of a monitor"))
    }

    /// Keeps what a guest said last, before its log goes.
    pub async fn keep_last_words(&self) {
        match tokio::time::timeout(MOMENT_OF_SILENCE, self.said(LAST_WORDS)).await {
            Ok(Ok(said)) => self.hypervisor.last_words().keep(self.id, said),
            // Not worth a wait: the monitor is to go.
            Ok(Err(error)) => tracing::debug!(vm = %self.id, %error, "a guest's last words were not heard"),
            Err(_) => tracing::debug!(vm = %self.id, "a guest's last words were not heard in time"),
        }
    }

    /// What guests of this VM said before, and behind it what the one that runs has said.
    pub async fn console(&self, max: usize) -> Result<Vec<u8>, MonitorError> {
        if let Some(monitor) = self.monitor().await? {
            self.hear(&monitor).await;
            self.heard().await;
        }
        self.tail(max).await
    }

    /// The same, as far as it was read.
    pub async fn tail(&self, max: usize) -> Result<Vec<u8>, MonitorError> {
        let mut said = self.hypervisor.last_words().of(self.id);
        said.extend(self.said(max).await?);
        Ok(said.split_off(said.len().saturating_sub(max)))
    }

    /// The end of what was read of the log.
    async fn said(&self, max: usize) -> Result<Vec<u8>, MonitorError> {
        let path = self.places.console();
        let read = tokio::task::spawn_blocking(move || log::tail(&path, max)).await;
        read.map_err(io::Error::other).flatten().map_err(MonitorError::io("read the serial log"))
    }
}

/// What a VM in this state is for us.
pub(super) fn phase_of(info: Option<&Info>) -> VmmPhase {
    match info.map(|info| info.state) {
        None | Some(State::Created) => VmmPhase::Prepared,
        Some(State::Running) => VmmPhase::Running,
        Some(State::Paused) => VmmPhase::Paused,
        Some(State::Shutdown) => VmmPhase::Exited,
    }
}

fn size_of(info: &Info) -> VmSize {
    VmSize { vcpus: Vcpus(info.config.cpus.boot_vcpus), memory: ByteSize::bytes(info.config.memory.size) }
}
