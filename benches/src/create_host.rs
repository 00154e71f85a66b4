//! Rows 1, 3 and 7: all that a create and a destroy do on a host but the guest itself. Copies are reflinks, ports are TAPs
//! on a bridge behind a firewall, and monitors are processes in a jail; what runs in them is a stub.

use std::path::Path;
use std::time::{Duration, Instant};

use minions_core::api::v1;
use minions_core::http::client::HttpControlPlane;
use minions_core::service::{ControlPlane, VmAction};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::Result;
use crate::create_rate::{create_of, new_vm};
use crate::daemon;
use crate::floor;
use crate::host::{IMAGES, Kind, anyone, client};
use crate::measure::{Process, median, micros, percentile};
use crate::report::{Figure, Goal, short};
use crate::suite::{Run, folder_in};

/// How long the guest of the slow image boots.
const BOOT: f64 = 100.0;

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    if crate::host::stub().is_none() {
        return Ok(vec![Figure::not_run("1", "creates on a host", "no stub-vmm beside this program")]);
    }
    let Some(room) = crate::host::room() else {
        let why = "scripts/bench gives it a network namespace and an XFS of its own where it is root";
        return Ok(vec![Figure::not_run("1", "creates on a host", why)]);
    };
    let folder = folder_in(&room)?;
    let _processes = crate::recovery::Leftovers(folder.path().to_owned());
    let mut daemon = daemon::start(Kind::Host, folder.path())?;
    daemon.says("idle").await?;
    let process = Process::of(daemon.pid()?);
    let plane = client(folder.path());
    let count = run.pick(40, 100);
    create_of(&plane, IMAGES[0], "warm", 20, 1).await?;

    let phases = phases(&plane).await?;
    let mut figures = work(run, folder.path(), &room, &plane, &process, count).await?;
    figures.push(phases);
    figures.extend(overhead(&plane, count).await?);
    figures.extend(destroy(&plane, folder.path()).await?);
    daemon.kill().await?;
    Ok(figures)
}

/// Row 1.
async fn work(
    run: &Run,
    dir: &Path,
    room: &Path,
    plane: &HttpControlPlane,
    process: &Process,
    count: usize,
) -> Result<Vec<Figure>> {
    let (mut ours, mut scripts, mut copies, mut spawns) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut commits, mut cpu) = (Vec::new(), 0.0);
    for round in 0..run.pick(4, 8) {
        let before = process.cpu()?;
        ours.extend(create_of(plane, IMAGES[0], &format!("work-{round}"), count / 4, 1).await?);
        cpu += process.cpu()? - before;
        commits.push(floor::autocommits(dir, 50)?);
        copies.extend(floor::reflinks(room, 20)?);
        spawns.extend(floor::spawns(20).await?);
        for number in 0..5 {
            scripts.push(floor::script(room, round * 5 + number).await?);
        }
    }
    let (commit, copy, spawn) = (median(&mut commits), median(&mut copies), median(&mut spawns));
    let least = 5.0 * commit + copy + spawn;
    let (ms, count) = (median(&mut ours) / 1e3, ours.len());
    let what = "create on a host, p50, until a guest that boots in no time is ready";
    Ok(vec![
        Figure::new("1", what, ms, "ms", Goal::AtMost(2.0)).note(format!(
            "{count} one after the other; p99 {} ms; daemon's CPU {} ms each",
            short(percentile(&mut ours, 0.99) / 1e3),
            short(cpu / 1e3 / count as f64)
        )),
        Figure::new("1", "the same against the least that it must do", ms * 1e3 / least, "x", Goal::AtMost(1.5)).note(
            format!(
                "five autocommits of {} µs, a reflink of {} µs, a process of {} µs; no TAP, no rules",
                short(commit),
                short(copy),
                short(spawn)
            ),
        ),
        Figure::new(
            "1",
            "the same against programs in a row",
            median(&mut scripts) / 1e3 / ms,
            "x",
            Goal::AtLeast(10.0),
        )
        .note("cp, five of ip, nft and a start of the stub take so many times as long"),
    ])
}

/// Where the time of row 1 goes.
async fn phases(plane: &HttpControlPlane) -> Result<Figure> {
    let mut phases: Vec<(String, Vec<f64>)> = Vec::new();
    for number in 0..20 {
        let operation = plane.create(&anyone(), &new_vm(&format!("phase-{number}"), Some(IMAGES[0]))?, None).await?;
        let ended = plane.operation(&anyone(), operation.id, Duration::from_secs(60)).await?;
        for mark in ended.timings.iter().filter(|mark| mark.is_phase()) {
            let time = mark.micros as f64 / 1e3;
            match phases.iter_mut().find(|(name, _)| *name == mark.name) {
                Some((_, times)) => times.push(time),
                None => phases.push((mark.name.to_string(), vec![time])),
            }
        }
    }
    let mut sum = 0.0;
    let mut told = Vec::new();
    for (name, times) in &mut phases {
        let time = median(times);
        sum += time;
        told.push(format!("{name} {}", short(time)));
    }
    Ok(Figure::new("1", "steps of such a create, one after the other", sum, "ms", Goal::None).note(told.join(", ")))
}

/// Row 3.
async fn overhead(plane: &HttpControlPlane, count: usize) -> Result<Vec<Figure>> {
    let mut times: Vec<f64> =
        create_of(plane, IMAGES[1], "ready", count, 1).await?.iter().map(|time| time / 1e3 - BOOT).collect();
    let (middle, late) = (median(&mut times), percentile(&mut times, 0.99));
    let what = "added to a guest that boots in 100 ms";
    Ok(vec![
        Figure::new("3", format!("{what}, p50"), middle, "ms", Goal::AtMost(3.0)),
        Figure::new("3", format!("{what}, p99"), late, "ms", Goal::AtMost(10.0)).note(format!("{count} creates")),
    ])
}

fn links() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/sys/net/ipv4/conf")?.count())
}

/// Row 7: everything that was created above.
async fn destroy(plane: &HttpControlPlane, dir: &Path) -> Result<Vec<Figure>> {
    let mut names = Vec::new();
    let mut query = v1::ListVms { limit: Some(200), ..v1::ListVms::default() };
    loop {
        let page = plane.vms(&anyone(), &query).await?;
        names.extend(page.vms.iter().filter(|vm| vm.deleted.is_none()).map(|vm| vm.name.clone()));
        let Some(next) = page.next else { break };
        query.cursor = Some(next);
    }
    let begin = Instant::now();
    let mut going = JoinSet::new();
    for name in &names {
        let (plane, vm) = (plane.clone(), name.to_string().parse()?);
        going.spawn(async move {
            let action = VmAction::Destroy(v1::DestroyVm::default());
            let operation = plane.act(&anyone(), &vm, &action, None).await?;
            plane.operation(&anyone(), operation.id, Duration::from_secs(60)).await
        });
    }
    while let Some(ended) = going.join_next().await {
        let ended = ended??;
        if ended.outcome != v1::OperationOutcome::Succeeded {
            return Err(format!("a destroy did not succeed: {ended:?}").into());
        }
    }
    let each = micros(begin) / 1e3 / names.len() as f64;
    let left = std::fs::read_dir(dir.join("r"))?.count() + std::fs::read_dir(dir.join("volumes"))?.count();
    let mut singles = Vec::new();
    for number in 0..20 {
        let name = format!("floor{number}");
        ip(&["tuntap", "add", "dev", &name, "mode", "tap"]).await?;
        let begin = Instant::now();
        ip(&["link", "del", &name]).await?;
        singles.push(micros(begin) / 1e3);
    }
    let count = names.len();
    Ok(vec![
        Figure::new("7", "destroy, of many at once", each, "ms", Goal::AtMost(1.0)).note(format!(
            "{count} VMs; `ip link del` of one TAP alone takes {} ms; {} interfaces are left",
            short(median(&mut singles)),
            links()?
        )),
        Figure::new("7", "folders left of them", left as f64, "", Goal::AtMost(0.0)),
    ])
}

pub async fn ip(words: &[&str]) -> Result<()> {
    match Command::new("ip").args(words).status().await? {
        status if status.success() => Ok(()),
        status => Err(format!("ip {words:?}: {status}").into()),
    }
}
