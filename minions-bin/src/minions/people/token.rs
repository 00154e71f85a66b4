//! `minions token`.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use minions_core::api::v1::AddToken;
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::http::token::{Token, TokenTable};
use minions_core::service::Caller;
use minions_core::types::UserName;

use super::whom;
use crate::cli;
use crate::client::Client;
use crate::clock::rfc3339;
use crate::output::{Outcome, Output};

pub async fn run(client: impl FnOnce() -> Result<Client>, output: &Output, verb: cli::Token) -> Outcome {
    match verb {
        cli::Token::Create { owner: Some(owner), admin, file: Some(file), .. } => in_file(output, owner, admin, &file),
        cli::Token::Create { user, label, scope, expires, .. } => {
            let client = client()?;
            let user = whom(&client, user.as_ref()).await?;
            let (label, scope) = (label.unwrap_or_default(), scope.into());
            let request = AddToken { label, scope, lifetime_s: expires.map(|life| life.as_secs()) };
            let made = client.people.add_token(&client.caller, &user, &request).await?;
            if output.json {
                output.object(&made)?;
            } else {
                output.lines([made.token.as_str()])?;
                output.note(&format!(
                    "this is the only time it is shown; take it back: minions token delete {}",
                    made.info.id
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        cli::Token::List { user } => list(&client()?, output, user.as_ref()).await,
        cli::Token::Delete { user, id } => {
            let client = client()?;
            let user = whom(&client, user.as_ref()).await?;
            client.people.delete_token(&client.caller, &user, id).await?;
            output.note(&format!("{id} lets nobody in any more"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(client: &Client, output: &Output, user: Option<&UserName>) -> Outcome {
    let user = whom(client, user).await?;
    let list = client.people.tokens(&client.caller, &user).await?;
    if output.json {
        output.object(&list)?;
    } else if output.quiet {
        list.tokens.iter().try_for_each(|token| output.text(&token.id.to_string()))?;
    } else if list.tokens.is_empty() {
        output.note(&format!("{user} has no tokens; make one: minions token create --user {user}"));
    } else {
        let rows = list.tokens.iter().map(|token| {
            let scope = cli::Scope::from(token.scope).word().to_owned();
            let until = token.expires.map_or_else(|| "taken back".to_owned(), rfc3339);
            vec![token.id.to_string(), token.label.clone(), scope, rfc3339(token.created), until]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        output.table(&["ID", "LABEL", "SCOPE", "MADE", "UNTIL"], &rows, &[])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Without a service: its hash goes into a file that one reads.
fn in_file(output: &Output, owner: String, admin: bool, file: &Path) -> Outcome {
    let caller = if admin { Caller::admin(owner) } else { Caller::tenant(owner) };
    let token = Token::of(&Env::system().ids.next_secret());
    let line = TokenTable::line(&caller, &token.hash());
    // What cannot be read back is not written.
    TokenTable::parse(&line)?;
    let cannot =
        |error| Error::new(ErrorKind::Unavailable, format!("cannot add to {}", file.display())).with_source(error);
    let mut options = OpenOptions::new();
    let mut opened = options.read(true).append(true).create(true).mode(0o600).open(file).map_err(cannot)?;
    // One that is there keeps its mode, and the service would not read it.
    if opened.metadata().map_err(cannot)?.mode() & 0o077 != 0 {
        let shown = file.display();
        return Err(Error::invalid(
            "file",
            format!("others may read {shown}, nothing was added; run: chmod 600 {shown}"),
        )
        .into());
    }
    let mut before = String::new();
    opened.read_to_string(&mut before).map_err(cannot)?;
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    opened.write_all(format!("{gap}{line}\n").as_bytes()).and_then(|()| opened.sync_all()).map_err(cannot)?;
    if output.json {
        output.object(&serde_json::json!({ "token": token.expose(), "owner": caller.owner, "admin": admin }))?;
    } else {
        output.text(token.expose())?;
        output.note("this is the only time it is shown; send SIGHUP to the service to let it in");
    }
    Ok(ExitCode::SUCCESS)
}
