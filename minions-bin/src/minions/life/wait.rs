//! `minions wait`.

use std::process::ExitCode;

use minions_core::api::v1::Vm;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::service::{ControlPlane, VmRef};
use minions_core::types::VmState;
use tokio::time::Instant;

use crate::cli::{Wait, WaitFor};
use crate::client::Client;
use crate::follow::PATIENCE;
use crate::output::{Outcome, Output, spell};

pub async fn run(client: &Client, output: &Output, args: &Wait) -> Outcome {
    let typed = &args.one.vm;
    let until = Instant::now() + args.timeout;
    // Events before this place are in what is read after it.
    let mut place = client.plane.last_event(&client.caller).await?;
    let mut vm = client.plane.vm(&client.caller, typed).await?;
    let id = VmRef::Id(vm.id);
    while !reached(&vm, args.state)? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = format!("{typed} is still {} after {}", vm.state, spell(args.timeout));
            return Err(Error::new(ErrorKind::DeadlineExceeded, message).with_reason("timeout").into());
        }
        place = client.plane.events(&client.caller, place, 100, left.min(PATIENCE)).await?.next;
        vm = client.plane.vm(&client.caller, &id).await?;
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
