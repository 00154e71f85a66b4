//! A tiny parent that keeps the agent alive. It is PID 1 where an image has no init, and then collects what dies.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::console::Desk;
use super::error::about;
use super::log::say;
use super::{power, status};
use crate::error::{Error, Result};

/// The first pause before a new start, and the longest. An agent that lived this long is started at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Runs `minions-agent serve` with these words and starts it again whenever it ends. Returns when it is told to end.
pub async fn supervise(words: Vec<String>) -> Result<()> {
    protect();
    let init = rustix::process::getpid().is_init();
    let watch = |kind| signal(kind).map_err(|error| about("cannot watch signals", error));
    let mut deaths = watch(SignalKind::child())?;
    let mut end = watch(SignalKind::terminate())?;
    // What `poweroff` sends to a PID 1.
    let mut power_off = watch(SignalKind::user_defined2())?;
    // An image's own init puts somebody at its console; where there is none, we do.
    let mut desk = if init { Desk::find() } else { None };
    let (mut pause, longest) = PAUSE;
    loop {
        let started = Instant::now();
        let agent = start(&words)?;
        loop {
            tokio::select! {
                _ = deaths.recv() => if collect(agent, &mut desk) { break },
                () = somebody_comes(&mut desk) => sit(&mut desk),
                _ = end.recv(), if !init => {
                    let _ = rustix::process::kill_process(agent, rustix::process::Signal::TERM);
                    return Ok(());
                }
                _ = power_off.recv(), if init => power::now()?,
            }
        }
        say(format_args!("the agent ended after {} ms of uptime; starting it again", status::uptime_ms()));
        if started.elapsed() > longest {
            pause = PAUSE.0;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        // One that died during the pause woke nobody.
        collect(agent, &mut desk);
    }
}

/// Ends when somebody wants a shell at the console.
async fn somebody_comes(desk: &mut Option<Desk>) {
    match desk {
        Some(desk) => desk.enter().await,
        None => std::future::pending().await,
    }
}

fn sit(desk: &mut Option<Desk>) {
    if let Some(Err(error)) = desk.as_mut().map(Desk::sit) {
        // The agent is there all the same.
        say(format_args!("{}", error.chain()));
        *desk = None;
    }
}

/// Neither this process nor the agent is what the kernel shall kill when memory runs out. Programs that the agent runs
/// are: it says so for each.
fn protect() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        say(format_args!("cannot protect the agent from the memory killer: {error}"));
    }
}

#[expect(clippy::disallowed_methods, reason = "the supervisor starts nothing but the agent")]
fn start(words: &[String]) -> Result<Pid> {
    // The program's file may be gone: after the boot it lies in an initrd that is no more.
    let child = std::process::Command::new("/proc/self/exe")
        .arg0("minions-agent")
        .arg("serve")
        .args(words)
        .stdin(std::process::Stdio::null())
        .spawn()
        .map_err(|error| about("cannot start the agent", error))?;
    // The handle is dropped, not waited for: every death is collected in one place.
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::internal("an agent without a process id"))
}

/// Collects everything that has died; says whether the agent was among it.
fn collect(agent: Pid, desk: &mut Option<Desk>) -> bool {
    let mut ended = false;
    while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
        ended |= pid == agent;
        if let Some(desk) = desk {
            desk.died(pid);
        }
    }
    ended
}
