//! `minions destroy`.

use std::process::ExitCode;

use minions_core::api::v1::DestroyVm;
use minions_core::service::{VmAction, VmRef};
use minions_core::types::ByteSize;

use super::ask;
use crate::cli::Destroy;
use crate::client::Client;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, args: &Destroy) -> Outcome {
    let typed = &args.one.vm;
    let mut vm = typed.clone();
    if !args.yes {
        ask::possible(output, &format!("{typed} and its disks shall go"))?;
        let found = client.plane.vm(&client.caller, typed).await?;
        let disks = match (args.keep_data, found.data_disk) {
            (true, data) => format!("its root disk ({}), and leave its data disk ({data})", found.disk),
            (false, data) if data == ByteSize::default() => format!("its root disk ({})", found.disk),
            (false, data) => format!("its disks ({} and {data})", found.disk),
        };
        ask::confirm(output, format!("Destroy {} and {disks}? [y/N] ", found.name), "nothing was destroyed").await?;
        // What was confirmed is what is destroyed, whoever has the name by now.
        vm = VmRef::Id(found.id);
    }
    let operation = client.act(&vm, &VmAction::Destroy(DestroyVm { keep_data: args.keep_data })).await?;
    if let Some(gone) = super::finish(client, output, "destroying", typed, operation, args.waiting).await? {
        let disk = gone.data_from.unwrap_or(gone.id);
        output.note(&match args.keep_data {
            true => format!("{typed} is gone; its data disk is {disk}: minions create NAME --data-from {disk}"),
            false => format!("{typed} is gone"),
        });
    }
    Ok(ExitCode::SUCCESS)
}
