//! `minions wait`.

use std::process::ExitCode;
use std::time::Duration;

use minions_core::api::v1::Vm;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::service::VmRef;
use minions_core::types::{OperationId, VmState};
use tokio::time::Instant;

use crate::cli::{Wait, WaitFor, Waiting};
use crate::client::Client;
use crate::follow::{EVENTS_APART, PATIENCE};
use crate::output::{Outcome, Output, spell};
use crate::pace::Pace;

pub async fn run(client: &Client, output: &Output, args: &Wait) -> Outcome {
    match (&args.vm, args.operation) {
        (_, Some(id)) => operation(client, output, id, args.timeout).await,
        (Some(vm), None) => state(client, output, vm, args).await,
        (None, None) => Err(Error::invalid("name", "say which VM, or which operation").into()),
    }
}

/// Until what was accepted before has ended.
async fn operation(client: &Client, output: &Output, id: OperationId, timeout: Duration) -> Outcome {
    let operation = client.plane.operation(&client.caller, id, Duration::ZERO).await?;
    let verb = operation.verb;
    let vm = client.plane.vm(&client.caller, &VmRef::Id(operation.vm)).await?;
    let waiting = Waiting { no_wait: false, wait: true, timeout, timings: false };
    let doing = format!("waiting for the {} of", verb.as_str());
    super::finish(client, output, &doing, &vm.name, operation, waiting).await?;
    output.note(&format!("the {} of {} is done", verb.as_str(), vm.name));
    Ok(ExitCode::SUCCESS)
}

/// Until a VM is as it shall be.
async fn state(client: &Client, output: &Output, typed: &VmRef, args: &Wait) -> Outcome {
    let until = Instant::now() + args.timeout;
    // Events before this place are in what is read after it.
    let mut place = client.plane.last_event(&client.caller).await?;
    let mut vm = client.plane.vm(&client.caller, typed).await?;
    let id = VmRef::Id(vm.id);
    let mut pace = Pace::new(EVENTS_APART);
    while !reached(&vm, args.state)? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = format!("{typed} is still {} after {}", vm.state, spell(args.timeout));
            return Err(Error::new(ErrorKind::DeadlineExceeded, message).with_reason("timeout").into());
        }
        let (begun, wait) = (Instant::now(), left.min(PATIENCE));
        place = client.plane.events(&client.caller, place, 100, wait).await?.next;
        vm = client.plane.vm(&client.caller, &id).await?;
        if !reached(&vm, args.state)? {
            pace.keep(begun, wait).await;
        }
    }
    if output.json {
        output.object(&vm)?;
    } else {
        output.note(&format!("{typed} is {}", vm.state));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it is there; an error where it will not get there by itself.
fn reached(vm: &Vm, state: WaitFor) -> Result<bool> {
    let gone = vm.deleted.is_some();
    let there = match state {
        WaitFor::Running => !gone && vm.state == VmState::Running,
        WaitFor::Stopped => !gone && vm.state == VmState::Stopped,
        WaitFor::Gone => gone,
    };
    let never = match state {
        WaitFor::Gone => false,
        _ => gone || vm.state == VmState::Failed,
    };
    if never && !there {
        let why = vm.reason.as_ref().map(|reason| format!(": {}", reason.message)).unwrap_or_default();
        let message = if gone { "it is gone".to_owned() } else { format!("it has failed{why}") };
        return Err(Error::new(ErrorKind::Denied, message).with_reason("wrong_state"));
    }
    Ok(there)
}
