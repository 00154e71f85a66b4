//! Ends a monitor: down the ladder, then what it left.

use std::io;
use std::time::Duration;

use super::fence;
use super::machine::{Machine, Monitor};
use super::places::Places;
use super::wire::State;
use crate::env::CallCx;
use crate::host::{files, jail, key};
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
        let monitor = match self.monitor().await {
            // Not to be spoken to. It is ended all the same.
            Err(error) if error.is_unseen() => None,
            monitor => monitor?,
        };
        if let Some(monitor) = monitor
            && let StopHow::Graceful { grace_ms } = how
        {
            let grace = Duration::from_millis(*grace_ms).min(cx.left().saturating_sub(RESERVE));
            if !self.asked(&monitor, grace).await {
                // Not reached, or not gone: the next rung. Why it did not answer is of no use to anybody.
                let quit = self.talk(&monitor, async |api| api.put("vmm.shutdown", None).await);
                let _ = tokio::time::timeout(QUIT, quit).await;
                let _ = tokio::time::timeout(QUIT, monitor.process.exited()).await;
            }
        }
        self.clear().await?;
        Ok(StepReport::empty())
    }

    /// Whether the guest went when it was asked.
    async fn asked(&self, monitor: &Monitor, grace: Duration) -> bool {
        let going = async {
            // A guest that was never booted hears no button.
            let pressed = self.talk(monitor, async |api| {
                let runs = api.info().await?.is_some_and(|info| info.state == State::Running);
                if runs {
                    api.put("vm.power-button", None).await?;
                }
                Ok(runs)
            });
            matches!(pressed.await, Ok(true)) && monitor.process.exited().await.is_ok()
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
        let io = MonitorError::io("end the process of a VM");
        // Whoever has let go of its key is in its control group still.
        jail::end(&self.hypervisor.0.means.limiter, self.id).await.map_err(&io)?;
        if let Some(process) = self.holder().await? {
            process.kill().map_err(&io)?;
            process.exited().await.map_err(&io)?;
        }
        // Who kept its serial line hears its end now, and writes what it has heard: not behind our back.
        self.line_ends().await;
        self.keep_last_words().await;
        let (places, means, id) = (self.places.clone(), self.hypervisor.0.means.clone(), self.id);
        let work = move || {
            fence::clear(&means, id)?;
            sweep(&places)
        };
        let swept = tokio::task::spawn_blocking(work).await;
        swept.map_err(io::Error::other).flatten().map_err(MonitorError::io("remove what is left of a VM"))
    }
}

/// Removes every file of the monitor, the key last: until then, nobody else can begin. What belongs to the guest channel
/// stays, and with it the folder. `false` where somebody holds the key.
fn sweep(places: &Places) -> io::Result<bool> {
    let key = places.key();
    for path in files::paths(places.dir())? {
        if path != key && !folder::is_door(&path)? {
            files::all_absent(&path)?;
        }
    }
    if !key::remove(&key)? {
        return Ok(false);
    }
    match std::fs::remove_dir(places.dir()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(error),
        _ => Ok(true),
    }
}
