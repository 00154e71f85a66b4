//! Row 24: memory of the daemon, idle and for each VM that it knows.

use crate::Result;
use crate::child::{Child, text};
use crate::daemon;
use crate::host::{Kind, client, quiet};
use crate::measure::Process;
use crate::report::{Figure, Goal};
use crate::suite::{Run, folder};

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let nothing = folder()?;
    let empty = daemon(nothing.path()).await?;
    let model_empty = model(nothing.path()).await?;
    let idle = Figure::new("24", "idle daemon that knows no VM", empty / 1e6, "MB", Goal::AtMost(25.0)).note("RSS");
    let mut figures = vec![idle];
    let sizes: &[usize] = run.pick(&[10_000], &[10_000, 100_000]);
    for &known in sizes {
        let seeded = run.seeded(known).await?;
        let (full, model_full) = (daemon(seeded.path()).await?, model(seeded.path()).await?);
        let model_each = (model_full - model_empty) / known as f64;
        let each = (full - empty) / known as f64 - model_each;
        let note = format!(
            "RSS {:.0} MB minus {:.0} MB with none, minus {model_each:.0} B that the simulated host itself takes for a VM; floor: a record of 500 B",
            full / 1e6,
            empty / 1e6
        );
        let what = format!("daemon's memory for each of {known} known VMs");
        figures.push(Figure::new("24", what, each, "B/VM", Goal::AtMost(4096.0)).note(note));
    }
    Ok(figures)
}

async fn daemon(dir: &std::path::Path) -> Result<f64> {
    let mut daemon = daemon::start(Kind::Memory, dir)?;
    daemon.says("idle").await?;
    quiet(&client(dir)).await?;
    let resident = Process::of(daemon.pid()?).resident()?;
    daemon.kill().await?;
    Ok(resident)
}

async fn model(dir: &std::path::Path) -> Result<f64> {
    let mut child = Child::start(&["model", text(dir)?])?;
    child.says("ready").await?;
    let resident = Process::of(child.pid()?).resident()?;
    child.kill().await?;
    Ok(resident)
}
