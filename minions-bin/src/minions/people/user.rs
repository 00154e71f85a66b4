//! `minions user`.

use std::process::ExitCode;

use minions_core::api::v1::{AddUser, ListUsers, UpdateUser, User};
use minions_core::error::{Error, ErrorKind};
use minions_core::types::Role;

use super::MOST;
use crate::cli;
use crate::client::Client;
use crate::clock::rfc3339;
use crate::life::ask;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, verb: cli::User) -> Outcome {
    match verb {
        cli::User::Add { name, admin } => {
            let user = client.people.add_user(&client.caller, &AddUser { name, admin }).await?;
            let next = format!("{0} is added; let them in: minions key add --user {0} FILE.pub", user.name);
            told(output, &user, &next)
        }
        cli::User::List => list(client, output).await,
        cli::User::Update { name, disable, enable, admin, tenant } => {
            let pick = |yes: bool, no: bool| (yes || no).then_some(yes);
            let request = UpdateUser { disabled: pick(disable, enable), admin: pick(admin, tenant), quota: None };
            let user = client.people.update_user(&client.caller, &name, &request).await?;
            let state = if user.disabled { "is let in no more" } else { "is let in" };
            told(output, &user, &format!("{} {state}, as {}", user.name, word(user.role)))
        }
        cli::User::Delete { name, yes } => {
            if !yes {
                ask::possible(output, &format!("the user {name} shall go, with every key and token"))?;
                ask::confirm(output, format!("Delete {name}, with every key and token? [y/N] "), "nothing was deleted")
                    .await?;
            }
            client.people.delete_user(&client.caller, &name).await?;
            output.note(&format!("{name} is gone; nobody else gets the name"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn told(output: &Output, user: &User, note: &str) -> Outcome {
    if output.json {
        output.object(user)?;
    } else {
        output.note(note);
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, output: &Output) -> Outcome {
    let mut users: Vec<User> = Vec::new();
    let mut query = ListUsers { limit: Some(200), cursor: None };
    loop {
        let page = client.people.users(&client.caller, &query).await?;
        users.extend(page.users);
        if users.len() > MOST {
            return Err(Error::new(ErrorKind::Unavailable, "the server's list does not come to an end").into());
        }
        match page.next {
            // A server whose cursor does not move has no more to say.
            Some(next) if query.cursor.as_ref() != Some(&next) => query.cursor = Some(next),
            _ => break,
        }
    }
    if output.json {
        output.object(&serde_json::json!({ "users": users }))?;
    } else if output.quiet {
        output.lines(users.iter().map(|user| user.name.as_str()))?;
    } else if users.is_empty() {
        output.note("nobody has an account yet; add one: minions user add NAME");
    } else {
        let state = |user: &User| if user.disabled { "disabled" } else { "enabled" }.to_owned();
        let row = |user: &User| vec![user.name.clone(), word(user.role).to_owned(), state(user), rfc3339(user.created)];
        let rows: Vec<Vec<String>> = users.iter().map(row).collect();
        output.table(&["NAME", "ROLE", "STATE", "CREATED"], &rows, &[])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Tenant => "tenant",
        Role::Admin => "admin",
        Role::Edge => "edge",
    }
}
