//! Verbs about who reaches a VM from outside, and where.

use std::process::ExitCode;

use minions_core::Error;
use minions_core::api::v1::{ExposeVm, ShareVm};
use minions_core::service::VmAction;

use crate::cli::{Expose, Share, With};
use crate::client::Client;
use crate::output::{Outcome, Output};

pub async fn expose(client: &Client, output: &Output, args: &Expose) -> Outcome {
    let vm = &args.one.vm;
    let operation = client.act(vm, &VmAction::Expose(ExposeVm { port: args.port })).await?;
    if super::finish(client, output, "exposing", vm, operation, args.waiting).await?.is_some() {
        output.note(&match args.port {
            Some(port) => format!("the web name of {vm} leads to port {port}"),
            None => format!("the web name of {vm} leads to whatever port listens"),
        });
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn share(client: &Client, output: &Output, args: &Share) -> Outcome {
    let vm = &args.one.vm;
    let users: Vec<String> = args.user.iter().map(ToString::to_string).collect();
    let request = match args.with {
        With::Public | With::Private if !users.is_empty() => {
            return Err(
                Error::invalid("OTHER", format!("a user stands after the word user: minions share {vm} user")).into()
            );
        }
        With::Public => ShareVm { public: Some(true), ..ShareVm::default() },
        With::Private => ShareVm { public: Some(false), ..ShareVm::default() },
        With::User if args.remove => ShareVm { remove: users, ..ShareVm::default() },
        With::User => ShareVm { add: users, ..ShareVm::default() },
    };
    let operation = client.act(vm, &VmAction::Share(request)).await?;
    if let Some(now) = super::finish(client, output, "sharing", vm, operation, args.waiting).await? {
        let users = now.access.shared.join(", ");
        output.note(&match (now.access.public, users.is_empty()) {
            (true, _) => format!("anybody may reach {vm}"),
            (false, true) => format!("only its owner may reach {vm}"),
            (false, false) => format!("its owner and {users} may reach {vm}"),
        });
    }
    Ok(ExitCode::SUCCESS)
}
