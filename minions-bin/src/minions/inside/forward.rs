//! `minions port-forward`.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use minions_core::api::guest::GuestCall;
use minions_core::api::v1::Vm;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::guest::client;
use minions_core::service::VmRef;
use minions_core::types::VmState;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::soon;
use crate::cli::Forward;
use crate::client::Client;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, args: &Forward) -> Outcome {
    let vm = &args.one.vm;
    // A name that nobody has, and a VM that will not run, are told now, not to the first connection. Its guest is not
    // asked: what that says counts for its own connections only.
    will_run(&client.plane.vm(&client.caller, vm).await?)?;
    // Heard from before anyone is told that it is up.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut loops = JoinSet::new();
    for &(local, remote) in &args.ports {
        let cannot = |error| {
            let message = format!("cannot listen on 127.0.0.1:{local}; choose another port, or 0 for a free one");
            Error::new(ErrorKind::Conflict, message).with_source(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local)).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        if output.json {
            output.object(&serde_json::json!({ "local": address, "vm": vm.to_string(), "remote": remote }))?;
        } else {
            output.note(&format!("{address} leads to port {remote} in {vm}; Ctrl-C ends it"));
        }
        loops.spawn(accept(client.clone(), output.clone(), vm.clone(), listener, remote));
    }
    tokio::select! {
        _ = loops.join_next() => Err(Error::new(ErrorKind::Unavailable, "a listener ended").into()),
        _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
    }
}

/// Refuses a VM that neither runs nor is on its way there: connections to one that is wait for it.
fn will_run(vm: &Vm) -> Result<()> {
    let name = &vm.name;
    let message = match vm.state {
        // To start again is what a restart is.
        VmState::Stopped | VmState::Stopping if vm.goal != "running" => {
            format!("{name} is {}; start it first: minions start {name}", vm.state)
        }
        VmState::Failed => format!("{name} has failed; see minions inspect {name}, then minions start {name}"),
        VmState::Deleting | VmState::Destroyed => format!("{name} is {}", vm.state),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Denied, message).with_reason("not_running"))
}

async fn accept(client: Client, output: Output, vm: VmRef, listener: TcpListener, remote: u16) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(carry(client.clone(), output.clone(), vm.clone(), stream, remote)); }
                Err(error) => {
                    output.note(&format!("cannot accept: {error}"));
                    return;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// One connection. Its trouble is its own: the others go on.
async fn carry(client: Client, output: Output, vm: VmRef, mut stream: TcpStream, remote: u16) {
    let carried = async {
        let io = client.plane.open(&client.caller, &vm, &GuestCall::Forward { port: remote }).await?;
        let (read, write) = stream.split();
        client::forward(io, read, write, soon()).await
    };
    if let Err(error) = carried.await {
        output.note(&format!("port {remote} in {vm}: {}", error.chain()));
    }
}
