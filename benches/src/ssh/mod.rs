//! Rows 16 to 18: the SSH gateway beside a floor and OpenSSH's server, all with one processor.

pub mod floor;
mod load;
mod peers;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use load::Target;

use crate::Result;
use crate::child::{Child, text};
use crate::front::{self, Front, VM};
use crate::host::Kind;
use crate::measure::{family_cpu, family_memory, median, own_cpu};
use crate::pin;
use crate::report::{Figure, Goal, short};
use crate::suite::{Run, folder};

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

type Seen = BTreeMap<(&'static str, &'static str), Vec<f64>>;

impl Measured {
    async fn idle(&self, count: usize) -> Result<f64> {
        let before = family_memory(self.pid);
        let (target, pid) = (self.target.clone(), self.pid);
        let after = pin::beside(move || async move {
            let held = target.idle(count).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let after = family_memory(pid);
            drop(held);
            Ok(after)
        });
        Ok((after.await? - before) / count as f64)
    }

    async fn handshakes(&self, count: usize) -> Result<(f64, f64)> {
        let before = self.cpu();
        let target = self.target.clone();
        let mut times = pin::beside(move || async move { target.handshakes(count).await }).await?;
        // Whoever ends with a connection is waited for, so that its time is counted.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(((self.cpu() - before) / times.len() as f64, median(&mut times)))
    }

    async fn carry(&self, up: bool, port: u16, bytes: usize) -> Result<(f64, f64)> {
        let before = self.cpu();
        let target = self.target.clone();
        let took = pin::beside(move || async move { target.carry(up, port, bytes).await }).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let gigabytes = bytes as f64 / 1e9;
        Ok(((self.cpu() - before) / 1e3 / gigabytes, gigabytes * 1e3 / took))
    }
}

fn note(seen: &Seen, what: &'static str) -> String {
    let told = ["minions", "floor", "sshd"].iter().filter_map(|who| {
        let value = seen.get(&(what, who)).map(|seen| median(&mut seen.clone()))?;
        Some(format!("{who} {}", short(value)))
    });
    told.collect::<Vec<_>>().join(", ")
}

fn ratio(seen: &Seen, row: &'static str, what: &'static str, to: &'static str, unit: &str, goal: Goal) -> Figure {
    let of = |who| seen.get(&(what, who)).map(|seen| median(&mut seen.clone()));
    let title = format!("SSH, {what}, against {to}");
    match of("minions").zip(of(to)) {
        Some((ours, theirs)) => {
            Figure::new(row, title, ours / theirs, "x", goal).note(format!("{unit}: {}", note(seen, what)))
        }
        None => Figure::not_run(row, title, format!("there is no {to} on this machine")),
    }
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let folder = folder()?;
    let dir = folder.path();
    front::prepare(dir)?;
    let mut back = Child::start(&["backend"])?;
    let ports = back.says("ready").await?;
    let mut ports = ports.split(' ').map(str::parse::<u16>);
    let (web, bytes) = (ports.next().ok_or("no port")??, ports.next().ok_or("no port")??);
    let ours = Front::start(Kind::Stub, dir, web, 0).await?;
    let mut floor = Child::start(&["minssh", text(dir)?])?;
    let at: SocketAddr = (Ipv4Addr::LOCALHOST, floor.says("ready").await?.parse::<u16>()?).into();
    let sshd = peers::sshd(dir).await?;
    let mut all = vec![
        Measured { name: "minions", pid: ours.child.pid()?, target: Target::new(dir, ours.ssh, VM) },
        Measured { name: "floor", pid: floor.pid()?, target: Target::new(dir, at, "anybody") },
    ];
    if let Some(sshd) = &sshd {
        all.push(Measured { name: "sshd", pid: sshd.pid(), target: Target::new(dir, sshd.address, "root") });
    }
    let mut seen = Seen::new();
    let mut put = |what, who, value: f64| seen.entry((what, who)).or_default().push(value);
    // Before anything else has grown their memory.
    let sessions = run.pick(100, 500);
    for one in &all {
        one.handshakes(4).await?;
        let count = if one.name == "sshd" { 20 } else { sessions };
        put("memory of an idle session", one.name, one.idle(count).await?);
    }
    let volume = run.pick(128 << 20, 512 << 20);
    for _ in 0..run.pick(3, 5) {
        for one in &all {
            let count = if one.name == "sshd" { 20 } else { run.pick(100, 400) };
            let (cpu, wall) = one.handshakes(count).await?;
            put("CPU of a handshake", one.name, cpu);
            put("time of a handshake", one.name, wall);
        }
        for (up, cpu_of, speed_of) in [
            (true, "CPU of an upload through a jump", "speed of an upload through a jump"),
            (false, "CPU of a download through a jump", "speed of a download through a jump"),
        ] {
            for one in &all {
                let (cpu, speed) = one.carry(up, bytes, volume).await?;
                put(cpu_of, one.name, cpu);
                put(speed_of, one.name, speed);
            }
        }
    }
    ours.end(dir).await?;
    let mut figures = vec![
        ratio(&seen, "16", "CPU of a handshake", "floor", "CPU µs", Goal::AtMost(1.3)),
        ratio(&seen, "16", "CPU of a handshake", "sshd", "CPU µs", Goal::None),
        ratio(&seen, "16", "time of a handshake", "sshd", "µs", Goal::None),
    ];
    for what in ["speed of an upload through a jump", "speed of a download through a jump"] {
        figures.push(ratio(&seen, "17", what, "sshd", "MB/s", Goal::AtLeast(1.5)));
        figures.push(ratio(&seen, "17", what, "floor", "MB/s", Goal::None));
    }
    for what in ["CPU of an upload through a jump", "CPU of a download through a jump"] {
        figures.push(ratio(&seen, "17", what, "sshd", "CPU ms for each GB", Goal::AtMost(0.7)));
        figures.push(ratio(&seen, "17", what, "floor", "CPU ms for each GB", Goal::None));
    }
    let what = "memory of an idle session";
    if let Some(values) = seen.get(&(what, "minions")) {
        let kib = median(&mut values.clone());
        figures.push(
            Figure::new("18", format!("SSH, {sessions} sessions: {what}"), kib, "KiB", Goal::AtMost(56.0))
                .note(format!("KiB: {}", note(&seen, what))),
        );
    }
    Ok(figures)
}
