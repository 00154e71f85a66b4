//! Verbs that change a VM and keep it.

use std::process::ExitCode;

use minions_core::api::v1::{RebaseVm, RenameVm, ResizeVm, RestartVm, StartVm, StopVm};
use minions_core::service::{VmAction, VmRef};
use minions_core::types::{Vcpus, VmState};

use super::ask;
use crate::cli::{Act, Rebase, Rename, Resize, Stop};
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
    let request =
        ResizeVm { cpus: args.cpus.map(Vcpus), memory: args.memory, disk: args.disk, data_disk: args.data_disk };
    let operation = client.act(vm, &VmAction::Resize(request)).await?;
    if let Some(now) = super::finish(client, output, "resizing", vm, operation, args.waiting).await? {
        let disks = args.disk.is_some() || args.data_disk.is_some();
        let size = args.cpus.is_some() || args.memory.is_some();
        let verb = if matches!(now.state, VmState::Stopped | VmState::Failed) { "start" } else { "restart" };
        if disks && verb == "restart" {
            output.note(&format!("the disks of {vm} are as large as asked for, {} and {}", now.disk, now.data_disk));
        }
        if size || disks && verb == "start" {
            output.note(&format!("{vm} has its new size from its next start on; now: minions {verb} {vm}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn rebase(client: &Client, output: &Output, args: &Rebase) -> Outcome {
    let typed = &args.one.vm;
    let mut vm = typed.clone();
    if !args.yes {
        ask::possible(output, &format!("{typed} and what is on its root disk shall be replaced"))?;
        let found = client.plane.vm(&client.caller, typed).await?;
        let question = format!("Replace the root disk of {} ({}); /data stays? [y/N] ", found.name, found.disk);
        ask::confirm(output, question, "nothing was replaced").await?;
        vm = VmRef::Id(found.id);
    }
    let operation = client.act(&vm, &VmAction::Rebase(RebaseVm { image: args.image.clone() })).await?;
    if let Some(now) = super::finish(client, output, "rebasing", typed, operation, args.waiting).await? {
        output.note(&format!("{typed} has a new root disk from {}; its data disk is as it was", now.image.short()));
    }
    Ok(ExitCode::SUCCESS)
}
