//! Row 19: a program in a guest, over the channel, against a bare ping-pong.

use std::time::{Duration, Instant};

use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::guest::GuestIoBox;
use minions_core::guest::client::{self, ExecItem, exec};
use minions_core::types::AgentSecret;
use tokio::net::UnixStream;

use crate::Result;
use crate::child::{Child, end_with_parent, text};
use crate::floor;
use crate::measure::{Process, median, micros, percentile};
use crate::report::{Figure, Goal, short};
use crate::suite::{Run, folder};

fn secret() -> AgentSecret {
    AgentSecret::from_bytes([0x5a; 32])
}

/// The agent as a process, on a UNIX socket.
pub async fn agent(dir: &std::path::Path) -> Result<()> {
    use minions_core::agent::{Agent, AgentOptions, Door, Machine, listen};
    use minions_core::api::guest::Nonce;
    use minions_core::api::guest::handshake::AgentIdentity;
    end_with_parent();
    let identity = AgentIdentity {
        secret: secret(),
        boot_nonce: Nonce::from_bytes([1; 32]),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let agent = Agent::new(identity, AgentOptions { machine: Machine::Borrowed, ..AgentOptions::default() });
    let serving = listen(agent, Door::Unix(dir.join("agent"))).await?;
    println!("ready");
    serving.await;
    Ok(())
}

pub fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(300)
}

/// A new, proven connection on which the call was sent.
pub async fn open(dir: &std::path::Path, call: &GuestCall) -> Result<GuestIoBox> {
    let stream = UnixStream::connect(dir.join("agent")).await?;
    Ok(client::call(Box::new(stream), &secret(), call, soon()).await?.0)
}

pub async fn start(dir: &std::path::Path) -> Result<(Child, Child)> {
    let mut agent = Child::start(&["agent", text(dir)?])?;
    agent.says("ready").await?;
    let mut floor = Child::start(&["floor", text(&dir.join("floor"))?, text(&dir.join("floor-file"))?])?;
    floor.says("ready").await?;
    Ok((agent, floor))
}

async fn execs(dir: &std::path::Path, count: usize) -> Result<Vec<f64>> {
    let call = GuestCall::Exec(ExecRequest::new(["true"]));
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let (_input, mut output) = exec(open(dir, &call).await?);
        let mut code = None;
        while let Some(item) = output.next().await? {
            if let ExecItem::End(end) = item {
                code = Some(end.exit_code());
            }
        }
        times.push(micros(begin));
        if code != Some(0) {
            return Err(format!("true ended with {code:?}").into());
        }
    }
    Ok(times)
}

async fn probes(dir: &std::path::Path, count: usize) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let io = open(dir, &GuestCall::Health).await?;
        client::health(io, soon()).await?;
        times.push(micros(begin));
    }
    Ok(times)
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let folder = folder()?;
    let dir = folder.path();
    let (agent, _floor) = start(dir).await?;
    let (mut pings, mut spawns, mut health, mut calls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    execs(dir, 20).await?;
    let process = Process::of(agent.pid()?);
    let mut cpu = 0.0;
    for _ in 0..run.pick(5, 10) {
        pings.extend(floor::ping_pongs(&dir.join("floor"), 1_000).await?);
        spawns.extend(floor::spawns(100).await?);
        health.extend(probes(dir, 200).await?);
        let before = process.cpu()?;
        calls.extend(execs(dir, 200).await?);
        cpu += process.cpu()? - before;
    }
    let (ping, spawn) = (median(&mut pings), median(&mut spawns));
    let (probe, call) = (median(&mut health), median(&mut calls));
    let floors = format!("floors: ping-pong {} µs, spawn of `true` {} µs", short(ping), short(spawn));
    let p99 = percentile(&mut calls, 0.99);
    let each = cpu / calls.len() as f64;
    Ok(vec![
        Figure::new(
            "19",
            "exec `true` through the agent, p50, with connect, proof, fork and exec",
            call / 1e3,
            "ms",
            Goal::AtMost(1.0),
        )
        .note(format!("p99 {} ms; agent's CPU {} µs; {floors}", short(p99 / 1e3), short(each))),
        Figure::new("19", "exec against the spawn of the same program without an agent", call / spawn, "x", Goal::None),
        Figure::new(
            "19",
            "call `health` against ping-pongs: connect, proof of both sides, call",
            probe / ping,
            "x",
            Goal::None,
        )
        .note(format!("{} µs; {floors}", short(probe))),
    ])
}
