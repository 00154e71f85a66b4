//! Verbs that change a VM and keep it.

use std::process::ExitCode;

use minions_core::api::v1::{RenameVm, ResizeVm, RestartVm, StartVm, StopVm};
use minions_core::service::VmAction;
use minions_core::types::{Vcpus, VmState};

use crate::cli::{Act, Rename, Resize, Stop};
use crate::client::Client;
use crate::output::{Outcome, Output};

pub async fn start(client: &Client, output: &Output, args: &Act) -> Outcome {
    let vm = &args.one.vm;
    let operation = client.act(vm, &VmAction::Start(StartVm {})).await?;
    if super::finish(client, output, "starting", vm, operation, args.waiting).await?.is_some() {
        output.note(&format!("{vm} runs"));
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn stop(client: &Client, output: &Output, args: &Stop) -> Outcome {
    let vm = &args.one.vm;
    let grace_ms = args.grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    let operation = client.act(vm, &VmAction::Stop(StopVm { force: args.force, grace_ms })).await?;
    if super::finish(client, output, "stopping", vm, operation, args.waiting).await?.is_some() {
        output.note(&format!("{vm} is stopped; its disks are kept"));
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn restart(client: &Client, output: &Output, args: &Act) -> Outcome {
    let vm = &args.one.vm;
    let operation = client.act(vm, &VmAction::Restart(RestartVm {})).await?;
    if super::finish(client, output, "restarting", vm, operation, args.waiting).await?.is_some() {
        output.note(&format!("{vm} runs again"));
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn rename(client: &Client, output: &Output, args: &Rename) -> Outcome {
    let (vm, new) = (&args.one.vm, &args.new);
    let operation = client.act(vm, &VmAction::Rename(RenameVm { name: new.clone() })).await?;
    if super::finish(client, output, "renaming", vm, operation, args.waiting).await?.is_some() {
        output.note(&format!("{vm} is {new} now"));
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn resize(client: &Client, output: &Output, args: &Resize) -> Outcome {
    let vm = &args.one.vm;
    let request = ResizeVm { cpus: args.cpus.map(Vcpus), memory: args.memory };
    let operation = client.act(vm, &VmAction::Resize(request)).await?;
    if let Some(now) = super::finish(client, output, "resizing", vm, operation, args.waiting).await? {
        let verb = if matches!(now.state, VmState::Stopped | VmState::Failed) { "start" } else { "restart" };
        output.note(&format!("{vm} has its new size from its next start on; now: minions {verb} {vm}"));
    }
    Ok(ExitCode::SUCCESS)
}
