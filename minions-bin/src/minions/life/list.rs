//! `minions list`.

use std::fmt::Display;
use std::process::ExitCode;

use minions_core::api::v1::{ListVms, Vm};
use minions_core::error::{Error, ErrorKind};

use super::tags::Tags;
use crate::cli::List;
use crate::client::Client;
use crate::output::{Outcome, Output};

/// More VMs than any service has; a list that goes on beyond them never ends.
const MOST: usize = 200_000;

pub async fn run(client: &Client, output: &Output, args: &List) -> Outcome {
    let mut vms: Vec<Vm> = Vec::new();
    let mut query = ListVms { limit: Some(200), cursor: None, deleted: args.deleted.then_some(true) };
    loop {
        let page = client.plane.vms(&client.caller, &query).await?;
        vms.extend(page.vms);
        if vms.len() > MOST {
            return Err(Error::new(ErrorKind::Unavailable, "the server's list does not come to an end").into());
        }
        match page.next {
            // A server whose cursor does not move has no more to say.
            Some(next) if query.cursor.as_ref() != Some(&next) => query.cursor = Some(next),
            _ => break,
        }
    }
    if output.json {
        output.object(&serde_json::json!({ "vms": vms }))?;
    } else if output.quiet {
        vms.iter().try_for_each(|vm| output.text(vm.name.as_str()))?;
    } else if vms.is_empty() {
        output.note("no VMs yet; make one: minions create web");
    } else {
        let tags = Tags::read(client, output).await;
        let rows: Vec<Vec<String>> = vms.iter().map(|vm| row(vm, &tags)).collect();
        let heads = ["NAME", "STATE", "CPUS", "MEMORY", "DISKS", "IP", "IMAGE", "REASON"];
        // Where there is no reason there is no column for it.
        let shown = heads.len() - usize::from(vms.iter().all(|vm| vm.reason.is_none()));
        output.table(&heads[..shown], &rows, &["DISKS", "IMAGE", "IP", "MEMORY", "CPUS"])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(vm: &Vm, tags: &Tags) -> Vec<String> {
    vec![
        vm.name.to_string(),
        vm.state.to_string(),
        now_and_next(vm.running.map(|running| running.cpus), vm.cpus),
        now_and_next(vm.running.map(|running| running.memory), vm.memory),
        format!("{}+{}", vm.disk, vm.data_disk),
        vm.ip.map_or_else(|| "-".to_owned(), |ip| ip.to_string()),
        tags.of(vm.image).map_or_else(|| vm.image.short(), str::to_owned),
        vm.reason.as_ref().map(|reason| reason.code.clone()).unwrap_or_default(),
    ]
}

/// What it has, and in brackets what it has from its next start on where that is something else.
fn now_and_next<T: Display + PartialEq>(running: Option<T>, wanted: T) -> String {
    match running {
        Some(running) if running != wanted => format!("{running} ({wanted})"),
        _ => wanted.to_string(),
    }
}
