//! Creates per second through the API, whole: from the request until the VM is observed to run, or to be gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use minions_core::api::v1;
use minions_core::http::client::HttpControlPlane;
use minions_core::service::ControlPlane;
use minions_core::types::{ByteSize, Vcpus};
use tokio::task::JoinSet;

use crate::Result;
use crate::daemon;
use crate::floor;
use crate::host::{Kind, anyone, client};
use crate::measure::{Process, median, micros, percentile};
use crate::report::{Figure, Goal, short};
use crate::suite::{Run, folder};

pub fn new_vm(name: &str, image: Option<&str>) -> Result<v1::CreateVm> {
    Ok(v1::CreateVm {
        image: image.map(str::to_owned),
        cpus: Some(Vcpus(1)),
        memory: Some(ByteSize::mib(128)),
        disk: Some(ByteSize::mib(64)),
        data_disk: Some(ByteSize::default()),
        ..v1::CreateVm::named(name.parse()?)
    })
}

/// Creates so many VMs, some at a time, and waits for each to run. Microseconds of each.
pub async fn create_named(plane: &HttpControlPlane, name: &str, count: usize, at_a_time: usize) -> Result<Vec<f64>> {
    create_with(plane, None, name, count, at_a_time).await
}

/// The same, from an image.
pub async fn create_of(
    plane: &HttpControlPlane,
    image: &'static str,
    name: &str,
    count: usize,
    at_a_time: usize,
) -> Result<Vec<f64>> {
    create_with(plane, Some(image), name, count, at_a_time).await
}

async fn create_with(
    plane: &HttpControlPlane,
    image: Option<&'static str>,
    name: &str,
    count: usize,
    at_a_time: usize,
) -> Result<Vec<f64>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..at_a_time {
        let (plane, next, name) = (plane.clone(), next.clone(), name.to_owned());
        workers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times);
                }
                let begin = Instant::now();
                let operation = plane.create(&anyone(), &new_vm(&format!("{name}-{number}"), image)?, None).await?;
                let ended = plane.operation(&anyone(), operation.id, Duration::from_secs(60)).await?;
                if ended.outcome != v1::OperationOutcome::Succeeded {
                    return Err(format!("a create did not succeed: {ended:?}").into());
                }
                times.push(micros(begin));
            }
        });
    }
    let mut times = Vec::with_capacity(count);
    while let Some(done) = workers.join_next().await {
        times.extend(done??);
    }
    Ok(times)
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    // Together no more than the default quota of one owner.
    figures.extend(on(Kind::Memory, run.pick(200, 280), 3, 32, 2_000.0).await?);
    if crate::host::stub().is_some() {
        figures.extend(on(Kind::Stub, run.pick(60, 200), run.pick(2, 3), 8, 2_000.0).await?);
    } else {
        figures.push(Figure::not_run("2", "creates on the stub monitor", "no stub-vmm beside this program"));
    }
    Ok(figures)
}

async fn on(kind: Kind, count: usize, rounds: usize, at_a_time: usize, cpu_goal: f64) -> Result<Vec<Figure>> {
    let folder = folder()?;
    let _processes = crate::recovery::Leftovers(folder.path().to_owned());
    let mut daemon = daemon::start(kind, folder.path())?;
    daemon.says("idle").await?;
    let process = Process::of(daemon.pid()?);
    let plane = client(folder.path());
    create_named(&plane, "warm", count.min(100), at_a_time).await?;
    let (mut rates, mut cpus, mut floors, mut all) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        floors.push(floor::autocommits(folder.path(), 500)?);
        let (begin, cpu) = (Instant::now(), process.cpu()?);
        all.extend(create_named(&plane, &format!("round-{round}"), count, at_a_time).await?);
        rates.push(count as f64 / begin.elapsed().as_secs_f64());
        cpus.push((process.cpu()? - cpu) / count as f64);
    }
    daemon.kill().await?;
    let (rate, cpu, floor) = (median(&mut rates), median(&mut cpus), median(&mut floors));
    let host = kind.name();
    // Accepted, taken on, provisioned, settled, absorbed: a create that waits for the disk each time.
    let serial = 1e6 / (5.0 * floor);
    let mut figures = vec![
        Figure::new("2", format!("creates through the API ({host} host)"), rate, "/s", Goal::None).note(format!(
            "{count} VMs, {at_a_time} at a time, until each runs; p50 {} ms, p99 {} ms; five autocommits each would be {} /s",
            short(median(&mut all) / 1e3),
            short(percentile(&mut all, 0.99) / 1e3),
            short(serial)
        )),
        Figure::new("2", format!("daemon's CPU for a create ({host} host)"), cpu, "µs", Goal::AtMost(cpu_goal))
            .note(format!("that is {} creates a second and core; median of {rounds} rounds", short(1e6 / cpu))),
    ];
    if kind == Kind::Memory {
        let what = "creates against five autocommits (FULL) one after the other";
        figures.push(
            Figure::new("2", what, rate / serial, "x", Goal::AtLeast(1.0)).note("group commit pays for all the rest"),
        );
    }
    Ok(figures)
}
