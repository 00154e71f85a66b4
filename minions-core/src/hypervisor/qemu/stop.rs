//! Ends a monitor: down the ladder, then its helper, then what they left.

use std::io;
use std::time::Duration;

use super::machine::{Machine, Pair};
use super::places::Places;
use super::vsock::Vsock;
use crate::env::CallCx;
use crate::host::process::Process;
use crate::host::{files, key};
use crate::hypervisor::error::MonitorError;
use crate::hypervisor::folder;
use crate::types::{StepReport, StopHow};

/// How long a monitor may take to write what it holds and go.
const QUIT: Duration = Duration::from_secs(3);

/// What the rest of the ladder needs of the call's deadline when the guest does not go.
const RESERVE: Duration = Duration::from_secs(5);

impl Machine {
    /// Nothing of the monitor is left.
    pub async fn stop(&self, cx: &CallCx, how: &StopHow) -> Result<StepReport, MonitorError> {
        let pair = self.pair().await?;
        if let Some(monitor) = pair.whole()
            && let StopHow::Graceful { grace_ms } = how
        {
            let grace = Duration::from_millis(*grace_ms).min(cx.left().saturating_sub(RESERVE));
            if !self.asked(monitor, grace).await {
                // Not reached, or not gone: the next rung. Why it did not answer is of no use to anybody.
                let _ = tokio::time::timeout(QUIT, self.quit()).await;
                let _ = tokio::time::timeout(QUIT, monitor.exited()).await;
            }
        }
        self.clear().await?;
        Ok(StepReport::empty())
    }

    /// Whether the guest went when it was asked.
    async fn asked(&self, monitor: &Process, grace: Duration) -> bool {
        let going = async {
            // A guest that was never booted hears no button.
            match self.phase().await {
                Ok(crate::hypervisor::VmmPhase::Running) => {}
                _ => return false,
            }
            if self.power_button().await.is_err() {
                return false;
            }
            tokio::select! {
                ended = monitor.exited() => ended.is_ok(),
                () = self.guest_ends() => true,
            }
        };
        tokio::time::timeout(grace, going).await.unwrap_or(false)
    }

    /// Ends what is alive and removes what is left.
    pub async fn clear(&self) -> Result<(), MonitorError> {
        for _ in 0..folder::CLEARED {
            if self.clear_once().await? {
                return Ok(());
            }
        }
        Err(MonitorError::io("remove what is left of a VM")(folder::held_again()))
    }

    /// `false` where another monitor was on its way: one whose start nobody waits for any more.
    async fn clear_once(&self) -> Result<bool, MonitorError> {
        let Pair { monitor, helper, .. } = self.pair().await?;
        self.keep_last_words(monitor.is_some()).await;
        // QEMU first: without its helper it would only complain.
        for process in [monitor, helper].into_iter().flatten() {
            let io = MonitorError::io("end a process of a VM");
            process.kill().map_err(&io)?;
            process.exited().await.map_err(&io)?;
        }
        // Who kept its serial line hears its end now, and writes what it has heard: not behind our back.
        self.line_ends().await;
        self.hypervisor.lines().forget(self.id);
        let places = self.places.clone();
        let doors = matches!(self.hypervisor.0.config.vsock, Vsock::Helper(_));
        let swept = tokio::task::spawn_blocking(move || sweep(&places, doors)).await;
        swept.map_err(io::Error::other).flatten().map_err(MonitorError::io("remove what is left of a VM"))
    }
}

/// Removes every file of the monitor, the keys last: until then, nobody else can begin. What belongs to the guest
/// channel stays, and with it the folder, unless that channel has no doors here any more. `false` where somebody holds a
/// key.
fn sweep(places: &Places, doors: bool) -> io::Result<bool> {
    let keys = [places.monitor_key(), places.helper_key()];
    for path in files::paths(places.dir())? {
        if !(keys.contains(&path) || doors && folder::is_door(&path)?) {
            files::all_absent(&path)?;
        }
    }
    for path in keys {
        if !key::remove(&path)? {
            return Ok(false);
        }
    }
    match std::fs::remove_dir(places.dir()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(error),
        _ => Ok(true),
    }
}
