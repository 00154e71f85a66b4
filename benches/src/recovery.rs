//! Row 25: the daemon is killed, and starts again on what it knew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::env::Env;
use minions_core::guest::client::{ExecItem, exec};
use minions_core::http::client::HttpControlPlane;
use minions_core::service::{ControlPlane, VmRef};
use minions_core::types::VmState;

use crate::Result;
use crate::create_rate::create_named;
use crate::daemon;
use crate::host::{Kind, anyone, client, parts};
use crate::report::{Figure, Goal, short};
use crate::seed;
use crate::suite::{Run, folder};

/// Ends the monitors in a folder, which outlive their daemon as they should.
pub struct Leftovers(pub PathBuf);

impl Drop for Leftovers {
    fn drop(&mut self) {
        let folder = self.0.as_os_str().as_encoded_bytes();
        let own = std::process::id().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|name| *name != own).and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if words.windows(folder.len()).any(|window| window == folder) {
                // A process that ended meanwhile is what was wanted.
                let _ = rustix::process::Pid::from_raw(pid)
                    .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            }
        }
    }
}

async fn states(plane: &HttpControlPlane) -> Result<Vec<(String, VmState)>> {
    let mut all = Vec::new();
    let mut query = v1::ListVms { limit: Some(200), ..v1::ListVms::default() };
    loop {
        let page = plane.vms(&anyone(), &query).await?;
        all.extend(page.vms.iter().map(|vm| (vm.name.to_string(), vm.state)));
        let Some(next) = page.next else { return Ok(all) };
        query.cursor = Some(next);
    }
}

/// The states once the service serves what its host has said, which it does a little after it serves at all: until
/// then a VM is shown as pending. Gives them as they are where nothing is told any more.
async fn settled_states(plane: &HttpControlPlane) -> Result<Vec<(String, VmState)>> {
    let mut place = plane.last_event(&anyone()).await?;
    loop {
        let all = states(plane).await?;
        if all.iter().all(|(_, state)| matches!(state, VmState::Running | VmState::Stopped | VmState::Failed)) {
            return Ok(all);
        }
        let page = plane.events(&anyone(), place, 200, Duration::from_secs(10)).await?;
        if page.events.is_empty() {
            return Ok(all);
        }
        place = page.next;
    }
}

async fn answers(plane: &HttpControlPlane, name: &str) -> Result<bool> {
    let vm: VmRef = name.parse()?;
    let (_input, mut output) = exec(plane.open(&anyone(), &vm, &GuestCall::Exec(ExecRequest::new(["true"]))).await?);
    let mut code = None;
    while let Some(item) = output.next().await? {
        if let ExecItem::End(end) = item {
            code = Some(end.exit_code());
        }
    }
    Ok(code == Some(0))
}

async fn on(kind: Kind, dir: &Path, running: usize, known: usize, runs: usize) -> Result<Vec<Figure>> {
    let plane = client(dir);
    let mut daemon = daemon::start(kind, dir)?;
    daemon.says("idle").await?;
    if running > 0 {
        create_named(&plane, "up", running, 8).await?;
    }
    let before = settled_states(&plane).await?;
    let (mut serving, mut process, mut settled, mut shown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut lost = 0;
    for _ in 0..runs {
        daemon.kill().await?;
        let spawned = Instant::now();
        daemon = daemon::start(kind, dir)?;
        daemon.says("parts").await?;
        let begin = Instant::now();
        daemon.says("ready").await?;
        // One answer of the API is what counts.
        client(dir).vm(&anyone(), &before.last().ok_or("no VMs")?.0.parse()?).await?;
        serving.push(begin.elapsed().as_secs_f64());
        process.push(spawned.elapsed().as_secs_f64());
        settled.push(daemon.says("idle").await?.parse::<f64>()? / 1e6);
        let after = settled_states(&plane).await?;
        shown.push(begin.elapsed().as_secs_f64());
        let after: BTreeMap<_, _> = after.into_iter().collect();
        lost += before.iter().filter(|(name, state)| after.get(name) != Some(state)).count();
        for (name, _) in before.iter().filter(|(_, state)| *state == VmState::Running).take(20) {
            lost += usize::from(!answers(&plane, name).await.unwrap_or(false));
        }
    }
    daemon.kill().await?;
    let host = kind.name();
    let what = format!("kill -9 with {known} VMs known, {running} running ({host} host)");
    let (serve, all) = (crate::measure::median(&mut serving), crate::measure::median(&mut settled));
    Ok(vec![
        Figure::new("25", format!("{what}: until the API answers"), serve, "s", Goal::AtMost(1.0)).note(format!(
            "from opening the stores to a GET that is answered; {} s from the start of the process; every VM was looked at after {} s, and every state served after {} s",
            short(crate::measure::median(&mut process)),
            short(all),
            short(crate::measure::median(&mut shown))
        )),
        Figure::new("25", format!("{what}: VMs lost"), lost as f64, "", Goal::AtMost(0.0))
            .note(format!("in {runs} kills; states compared one by one, and `true` run in 20 that run")),
        Figure::new("25", format!("{what}: VMs taken up a second"), (known + running) as f64 / all, "/s", Goal::None),
    ])
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let seeded = run.copy_of_seeded(10_000).await?;
    let mut figures = on(Kind::Memory, seeded.path(), 0, 10_000, run.pick(3, 5)).await?;
    if crate::host::stub().is_none() {
        figures.push(Figure::not_run("25", "kill -9 with running monitors", "no stub-vmm beside this program"));
        return Ok(figures);
    }
    let folder = folder()?;
    let _processes = Leftovers(folder.path().to_owned());
    let (known, running) = (run.pick(2_000, 10_000), run.pick(50, 1_000));
    let parts = parts(Kind::Stub, folder.path(), &Env::system()).await?;
    seed::stores(Kind::Stub, folder.path(), parts.image, known).await?;
    seed::volumes(folder.path(), &parts.storage).await?;
    drop(parts);
    figures.extend(on(Kind::Stub, folder.path(), running, known, run.pick(3, 5)).await?);
    Ok(figures)
}
