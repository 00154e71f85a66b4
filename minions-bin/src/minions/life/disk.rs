//! `minions disk`.

use std::process::ExitCode;

use minions_core::api::v1::{DeleteDisk as Request, Disk, ListDisks};
use minions_core::error::{Error, ErrorKind};
use minions_core::service::{VmAction, VmRef};

use super::ask;
use crate::cli::DeleteDisk;
use crate::client::Client;
use crate::output::{Outcome, Output};

/// More disks than any service has; a list that goes on beyond them never ends.
const MOST: usize = 200_000;

pub async fn list(client: &Client, output: &Output) -> Outcome {
    let mut disks: Vec<Disk> = Vec::new();
    let mut query = ListDisks { limit: Some(200), cursor: None };
    loop {
        let page = client.plane.disks(&client.caller, &query).await?;
        disks.extend(page.disks);
        if disks.len() > MOST {
            return Err(Error::new(ErrorKind::Unavailable, "the server's list does not come to an end").into());
        }
        match page.next {
            // A server whose cursor does not move has no more to say.
            Some(next) if query.cursor.as_ref() != Some(&next) => query.cursor = Some(next),
            _ => break,
        }
    }
    if output.json {
        output.object(&serde_json::json!({ "disks": disks }))?;
    } else if output.quiet {
        disks.iter().try_for_each(|disk| output.text(&disk.id.to_string()))?;
    } else if disks.is_empty() {
        output.note("no data disks are left of destroyed VMs; one is left by: minions destroy NAME --keep-data");
    } else {
        let row = |disk: &Disk| vec![disk.id.to_string(), disk.name.to_string(), disk.size.to_string()];
        let rows: Vec<Vec<String>> = disks.iter().map(row).collect();
        output.table(&["ID", "WAS OF", "SIZE"], &rows, &["SIZE"])?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn delete(client: &Client, output: &Output, args: &DeleteDisk) -> Outcome {
    let disk = args.id;
    if !args.yes {
        ask::possible(output, &format!("the disk {disk} shall go"))?;
        let vm = client.plane.vm(&client.caller, &VmRef::Id(disk)).await?;
        let question = format!("Delete the data disk that {} left ({})? [y/N] ", vm.name, vm.data_disk);
        ask::confirm(output, question, "nothing was deleted").await?;
    }
    let operation = client.act(&VmRef::Id(disk), &VmAction::DeleteDisk(Request {})).await?;
    let name = format!("the disk {disk}");
    if super::finish(client, output, "deleting", &name, operation, args.waiting).await?.is_some() {
        output.note(&format!("{name} is gone"));
    }
    Ok(ExitCode::SUCCESS)
}
