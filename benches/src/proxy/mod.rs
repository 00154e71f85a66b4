//! Rows 8 to 14: the HTTPS proxy beside a floor and proxies that others made, all with one processor.

pub mod backend;
pub mod floor;
mod load;
mod peers;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use load::{Target, Work};

use crate::Result;
use crate::child::{Child, text};
use crate::front::{self, Front};
use crate::host::Kind;
use crate::measure::{family_cpu, family_memory, median, own_cpu, percentile};
use crate::pin;
use crate::report::{Figure, Goal, short};
use crate::suite::{Run, folder};

/// Names that every proxy knows.
const NAMES: usize = 10_000;

/// Who is measured.
struct Measured {
    name: &'static str,
    pid: u32,
    target: Target,
}

impl Measured {
    /// CPU so far. The guests of a service come from it, and are no part of the door.
    fn cpu(&self) -> f64 {
        if self.name == "minions" { own_cpu(self.pid) } else { family_cpu(self.pid) }
    }
}

/// What was seen: CPU in microseconds for each thing done, a value for every round.
type Seen = BTreeMap<(&'static str, &'static str), Vec<f64>>;

const WORKS: [(&str, Work); 5] = [
    ("h1", Work::Http1),
    ("handshake", Work::Handshake),
    ("h2", Work::Http2),
    ("websocket", Work::WebSocket),
    ("download", Work::Download),
];

async fn once(one: &Measured, work: Work, time: Duration) -> Result<(f64, Vec<f64>)> {
    let before = one.cpu();
    let target = one.target.clone();
    let times = pin::beside(move || async move { target.load(work, time).await }).await?;
    if times.is_empty() {
        return Err(format!("{}: nothing was done", one.name).into());
    }
    Ok(((one.cpu() - before) / times.len() as f64, times))
}

async fn idle(one: &Measured, count: usize) -> Result<f64> {
    let before = family_memory(one.pid);
    let (target, pid) = (one.target.clone(), one.pid);
    let after = pin::beside(move || async move {
        let held = target.idle(count).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = family_memory(pid);
        drop(held);
        Ok(after)
    });
    Ok((after.await? - before) / count as f64)
}

struct Told<'a>(&'a Seen);

impl Told<'_> {
    fn of(&self, work: &'static str, who: &'static str) -> Option<f64> {
        self.0.get(&(work, who)).map(|seen| median(&mut seen.clone()))
    }

    fn note(&self, work: &'static str) -> String {
        let told = ["minions", "floor", "haproxy", "nginx"]
            .iter()
            .filter_map(|who| Some(format!("{who} {}", short(self.of(work, who)?))));
        told.collect::<Vec<_>>().join(", ")
    }

    fn ratio(&self, row: &'static str, work: &'static str, to: &'static str, goal: Goal) -> Figure {
        let what = format!("proxy, {work}: CPU for each, against {to}");
        match self.of(work, "minions").zip(self.of(work, to)) {
            Some((ours, theirs)) => Figure::new(row, what, ours / theirs, "x", goal)
                .note(format!("CPU µs for each (a download is 64 MiB): {}", self.note(work))),
            None => Figure::not_run(row, what, format!("there is no {to} on this machine")),
        }
    }
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let folder = folder()?;
    let dir = folder.path();
    front::prepare(dir)?;
    let mut back = Child::start(&["backend"])?;
    let ports = back.says("ready").await?;
    let port: u16 = ports.split(' ').next().ok_or("no port")?.parse()?;
    let ours = Front::start(Kind::Stub, dir, port, 0).await?;
    let mut floor = Child::start(&["minproxy", text(dir)?, &port.to_string(), &NAMES.to_string()])?;
    let at: SocketAddr = (Ipv4Addr::LOCALHOST, floor.says("ready").await?.parse::<u16>()?).into();
    let (haproxy, nginx) = (peers::haproxy(dir, port, NAMES).await?, peers::nginx(dir, port, NAMES).await?);
    let mut all = vec![
        Measured { name: "minions", pid: ours.child.pid()?, target: Target::new(dir, ours.https)? },
        Measured { name: "floor", pid: floor.pid()?, target: Target::new(dir, at)? },
    ];
    for (name, peer) in [("haproxy", &haproxy), ("nginx", &nginx)] {
        if let Some(peer) = peer {
            all.push(Measured { name, pid: peer.pid(), target: Target::new(dir, peer.address)? });
        }
    }
    let mut seen = Seen::new();
    // Before anything else has grown their memory.
    let connections = run.pick(1_000, 4_000);
    for one in &all {
        once(one, Work::Http1, Duration::from_millis(200)).await?;
        seen.entry(("idle", one.name)).or_default().push(idle(one, connections).await?);
    }
    let time = Duration::from_millis(run.pick(700, 2_000));
    for _ in 0..run.pick(3, 5) {
        for (name, work) in WORKS {
            for one in &all {
                let (cpu, times) = once(one, work, time).await?;
                seen.entry((name, one.name)).or_default().push(cpu);
                let mut times = times;
                eprintln!(
                    "  {name} {}: {} done, CPU {} µs, p99 {} µs",
                    one.name,
                    times.len(),
                    short(cpu),
                    short(percentile(&mut times, 0.99))
                );
            }
        }
    }
    let told = Told(&seen);
    let mut figures = vec![
        told.ratio("8", "h1", "floor", Goal::AtMost(1.2)),
        told.ratio("8", "h1", "haproxy", Goal::None),
        told.ratio("8", "h1", "nginx", Goal::None),
        told.ratio("9", "h2", "floor", Goal::AtMost(1.2)),
        told.ratio("9", "h2", "haproxy", Goal::None),
        told.ratio("9", "h2", "nginx", Goal::None),
        told.ratio("10", "handshake", "haproxy", Goal::AtMost(0.8)),
        told.ratio("10", "handshake", "floor", Goal::None),
    ];
    if let Some(kib) = told.of("idle", "minions") {
        let what = format!("proxy, {connections} idle connections: memory of each");
        figures
            .push(Figure::new("11", what, kib, "KiB", Goal::AtMost(24.0)).note(format!("KiB: {}", told.note("idle"))));
    }
    figures.push(told.ratio("12", "websocket", "haproxy", Goal::AtMost(0.8)));
    figures.push(told.ratio("12", "websocket", "floor", Goal::None));
    figures.push(told.ratio("12", "download", "haproxy", Goal::AtMost(0.6)));
    figures.push(told.ratio("12", "download", "floor", Goal::None));
    figures.push(Figure::not_run(
        "13",
        "proxy, TLS that is passed through",
        "the proxy ends TLS always: there is no such mode",
    ));
    ours.end(dir).await?;
    drop((floor, haproxy, nginx));
    figures.extend(churned(run, port).await?);
    Ok(figures)
}

/// Row 14.
async fn churned(run: &Run, port: u16) -> Result<Vec<Figure>> {
    let folder = folder()?;
    let dir: &Path = folder.path();
    front::prepare(dir)?;
    let known = run.pick(10_000, 100_000);
    let front = Front::start(Kind::Memory, dir, port, known).await?;
    let one = Measured { name: "minions", pid: front.child.pid()?, target: Target::new(dir, front.https)? };
    let time = Duration::from_secs(run.pick(3, 10));
    once(&one, Work::Http1, Duration::from_millis(500)).await?;
    let (_, mut calm) = once(&one, Work::Http1, time).await?;
    let (wild, changes) = tokio::join!(once(&one, Work::Http1, time), front::churn(dir, known, 1_000, time));
    let ((_, mut wild), mut changes) = (wild?, changes?);
    let rate = changes.len() as f64 / time.as_secs_f64();
    let note = format!(
        "{known} names known; {} requests on 64 connections, none failed; a change took {} µs, p99 {} µs, as seen by its caller",
        wild.len(),
        short(median(&mut changes)),
        short(percentile(&mut changes, 0.99))
    );
    let (p99, calm) = (percentile(&mut wild, 0.99), percentile(&mut calm, 0.99));
    Ok(vec![
        Figure::new(
            "14",
            "changes of routes a second beside full load, without an error",
            rate,
            "/s",
            Goal::AtLeast(990.0),
        )
        .note(note),
        Figure::new("14", "p99 of requests meanwhile, against none changed", p99 / calm, "x", Goal::None)
            .note(format!("{} ms, {} ms", short(p99 / 1e3), short(calm / 1e3))),
    ])
}
