//! Row 26: what a host costs on which nothing happens.

use std::time::Duration;

use crate::Result;
use crate::create_rate::create_named;
use crate::daemon;
use crate::host::{Kind, client};
use crate::measure::Process;
use crate::report::{Figure, Goal};
use crate::suite::{Run, folder};

/// Threads that are there for work go away after 10 s without any, and their memory with them.
const REST: Duration = Duration::from_secs(15);

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (kind, vms) in [(Kind::Memory, run.pick(200, 1_000)), (Kind::Stub, run.pick(120, 300))] {
        let what = format!("daemon's wakeups with {vms} running VMs ({})", kind.name());
        if kind == Kind::Stub && crate::host::stub().is_none() {
            figures.push(Figure::not_run("26", what, "no stub-vmm beside this program"));
            continue;
        }
        let folder = folder()?;
        let _processes = crate::recovery::Leftovers(folder.path().to_owned());
        let mut daemon = daemon::start(kind, folder.path())?;
        daemon.says("idle").await?;
        let process = Process::of(daemon.pid()?);
        create_named(&client(folder.path()), "first", vms / 2, 16).await?;
        if kind == Kind::Stub {
            tokio::time::sleep(REST).await;
        }
        let half = process.resident()?;
        create_named(&client(folder.path()), "then", vms - vms / 2, 16).await?;
        tokio::time::sleep(REST).await;
        let running = process.resident()?;
        let window = Duration::from_secs(run.pick(10, 30));
        let (wakeups, cpu) = (process.wakeups()?, process.cpu()?);
        tokio::time::sleep(window).await;
        let (seconds, before) = (window.as_secs_f64(), wakeups);
        let (wakeups, cpu) = ((process.wakeups()? - wakeups) / seconds, (process.cpu()? - cpu) / 1e4 / seconds);
        let note = format!(
            "voluntary context switches of all its threads over {seconds} s, after {before} while it was busy; {cpu:.2} % CPU"
        );
        figures.push(Figure::new("26", what, wakeups, "/s", Goal::AtMost(1.0)).note(note));
        if kind == Kind::Stub {
            let each = (running - half) / (vms - vms / 2) as f64 / 1024.0;
            let what = "daemon's memory for a running VM, beyond its monitor";
            let note = format!("RSS with {vms} VMs minus RSS with half of them, each 15 s after the last create");
            figures.push(Figure::new("24", what, each, "KiB/VM", Goal::AtMost(64.0)).note(note));
        }
        daemon.kill().await?;
    }
    Ok(figures)
}
