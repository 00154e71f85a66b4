//! `minions quota`.

use std::process::ExitCode;

use minions_core::api::v1::UpdateUser;
use minions_core::types::Quota;

use super::whom;
use crate::cli;
use crate::client::Client;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, verb: cli::Quota) -> Outcome {
    let user = match verb {
        cli::Quota::Show { user } => {
            let user = whom(client, user.as_ref()).await?;
            client.people.user(&client.caller, &user).await?
        }
        cli::Quota::Set { user, vms, disk, memory } => {
            let now = client.people.user(&client.caller, &user).await?.quota.unwrap_or_default();
            let quota = Quota {
                vms: vms.unwrap_or(now.vms),
                disk: disk.unwrap_or(now.disk),
                memory: memory.unwrap_or(now.memory),
            };
            let request = UpdateUser { quota: Some(quota), ..UpdateUser::default() };
            client.people.update_user(&client.caller, &user, &request).await?
        }
    };
    match user.quota {
        _ if output.json => output.object(&user)?,
        Some(quota) => {
            let lines = [
                format!("vms     {}", quota.vms),
                format!("disk    {}", quota.disk),
                format!("memory  {}", quota.memory),
            ];
            output.lines(lines.iter().map(String::as_str))?;
        }
        None => output.note(&format!("{} may have what everybody may; see: minions config show", user.name)),
    }
    Ok(ExitCode::SUCCESS)
}
