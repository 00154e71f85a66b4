//! `minions host status`.

use std::process::ExitCode;

use crate::client::Client;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output) -> Outcome {
    let host = client.plane.host(&client.caller).await?;
    if output.json {
        output.object(&host)?;
        return Ok(ExitCode::SUCCESS);
    }
    let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let metadata = host.storage_metadata_used.zip(host.storage_metadata_total);
    let mut rows = vec![
        ("hypervisor", host.hypervisor),
        ("accelerated", yes(host.accelerated)),
        ("simulated", yes(host.simulated)),
        ("storage", host.storage),
        ("used", format!("{} of {}", host.storage_used, host.storage_total)),
        ("network", host.network),
        ("isolated", yes(host.isolated)),
        ("guest", host.guest),
        ("vms", host.vms.to_string()),
        ("quarantined", host.quarantined.to_string()),
    ];
    if let Some((used, total)) = metadata {
        rows.insert(5, ("metadata", format!("{used} of {total}")));
    }
    let text: Vec<String> = rows.iter().map(|(name, value)| format!("{name:11}  {value}")).collect();
    output.lines(text.iter().map(String::as_str))?;
    Ok(ExitCode::SUCCESS)
}
