//! `minions inspect`.

use std::process::ExitCode;

use minions_core::types::Vcpus;

use super::tags::Tags;
use crate::cli::One;
use crate::client::Client;
use crate::clock::rfc3339;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, args: &One) -> Outcome {
    let vm = client.plane.vm(&client.caller, &args.vm).await?;
    if output.json {
        output.object(&vm)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ("name", vm.name.to_string()),
        ("id", vm.id.to_string()),
        ("owner", vm.owner.clone()),
        ("state", vm.state.to_string()),
    ];
    if let Some(reason) = &vm.reason {
        rows.push(("reason", format!("{}: {}", reason.code, reason.message)));
    }
    rows.push(("since", rfc3339(vm.since)));
    rows.push(("goal", format!("{} (generation {})", vm.goal, vm.generation.0)));
    rows.push((
        "image",
        match Tags::read(client, output).await.of(vm.image) {
            Some(tag) => format!("{tag} ({})", vm.image.short()),
            None => vm.image.short(),
        },
    ));
    let size = |cpus: Vcpus, memory| format!("{cpus} cpu{}, {memory} memory", if cpus.0 == 1 { "" } else { "s" });
    let wanted = size(vm.cpus, vm.memory);
    rows.push((
        "size",
        match vm.running.map(|running| size(running.cpus, running.memory)) {
            Some(running) if running != wanted => format!("{running} ({wanted} from its next start)"),
            _ => wanted,
        },
    ));
    rows.push(("disks", format!("{} root, {} data", vm.disk, vm.data_disk)));
    if let Some(ip) = vm.ip {
        rows.push(("ip", ip.to_string()));
    }
    let who = match (vm.access.public, vm.access.shared.is_empty()) {
        (true, _) => "anybody".to_owned(),
        (false, true) => "its owner".to_owned(),
        (false, false) => format!("its owner, {}", vm.access.shared.join(", ")),
    };
    let port = vm.access.port.map_or_else(|| "the port that listens".to_owned(), |port| format!("port {port}"));
    rows.push(("web name", format!("leads to {port}, for {who}")));
    rows.push(("restarts", vm.restarts.to_string()));
    rows.push(("created", rfc3339(vm.created)));
    if let Some(deleted) = vm.deleted {
        rows.push(("destroyed", rfc3339(deleted)));
    }
    // What is inside a phase is told by `--timings` and by `--json`.
    let phases = vm.timings.iter().filter(|mark| mark.is_phase() && mark.micros >= 1000);
    let phases: Vec<String> = phases.map(|mark| format!("{} {}ms", mark.name, mark.micros / 1000)).collect();
    if !phases.is_empty() {
        rows.push(("timings", phases.join(", ")));
    }
    let text: Vec<String> = rows.iter().map(|(name, value)| format!("{name:9}  {value}")).collect();
    output.lines(text.iter().map(String::as_str))?;
    Ok(ExitCode::SUCCESS)
}
