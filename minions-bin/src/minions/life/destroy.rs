//! `minions destroy`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use minions_core::api::v1::{DestroyVm, Vm};
use minions_core::error::{Error, ErrorKind};
use minions_core::service::{ControlPlane, VmAction, VmRef};

use crate::cli::Destroy;
use crate::client::Client;
use crate::output::{Failure, Outcome, Output};

pub async fn run(client: &Client, output: &Output, args: &Destroy) -> Outcome {
    let typed = &args.one.vm;
    let mut vm = typed.clone();
    if !args.yes {
        if output.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let message =
                format!("nobody can be asked whether {typed} and its disks shall go; if they shall, say --yes");
            return Err(Error::invalid("yes", message).into());
        }
        let found = client.plane.vm(&client.caller, typed).await?;
        confirm(&found).await?;
        // What was confirmed is what is destroyed, whoever has the name by now.
        vm = VmRef::Id(found.id);
    }
    let operation = client.act(&vm, &VmAction::Destroy(DestroyVm {})).await?;
    if super::finish(client, output, "destroying", typed, operation, args.waiting).await?.is_some() {
        output.note(&format!("{typed} is gone"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn confirm(vm: &Vm) -> Result<(), Failure> {
    let question = format!("Destroy {} and its disks ({} and {})? [y/N] ", vm.name, vm.disk, vm.data_disk);
    let answer = tokio::task::spawn_blocking(move || {
        io::stderr().write_all(question.as_bytes())?;
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(|error| Error::internal("asking failed").with_source(error))??;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Denied, "not confirmed; nothing was destroyed").with_reason("unconfirmed").into())
}
