//! `minions key`.

use std::path::Path;
use std::process::ExitCode;

use minions_core::api::v1::{AddKey, Key};
use minions_core::error::{Error, Result};
use minions_core::types::{PublicKey, UserName};

use super::whom;
use crate::cli;
use crate::client::Client;
use crate::clock::rfc3339;
use crate::output::{Outcome, Output};

/// Bytes of the largest file that may hold a public key.
const MAX_FILE: u64 = 64 << 10;

pub async fn run(client: &Client, output: &Output, verb: cli::Key) -> Outcome {
    match verb {
        cli::Key::Add { user, label, file } => {
            let text = tokio::task::spawn_blocking(move || read(&file))
                .await
                .map_err(|error| Error::internal("reading a file panicked").with_source(error))??;
            return add(client, output, user.as_ref(), label, text).await;
        }
        cli::Key::List { user } => {
            let user = whom(client, user.as_ref()).await?;
            let list = client.people.keys(&client.caller, &user).await?;
            if output.json {
                output.object(&list)?;
            } else if output.quiet {
                output.lines(list.keys.iter().map(|key| key.fingerprint.as_str()))?;
            } else if list.keys.is_empty() {
                output.note(&format!("{user} has no keys; add one: minions key add --user {user} FILE.pub"));
            } else {
                let row = |key: &Key| vec![key.fingerprint.clone(), key.label.clone(), rfc3339(key.created)];
                let rows: Vec<Vec<String>> = list.keys.iter().map(row).collect();
                output.table(&["FINGERPRINT", "LABEL", "ADDED"], &rows, &[])?;
            }
        }
        cli::Key::Delete { user, fingerprint } => {
            let user = whom(client, user.as_ref()).await?;
            client.people.delete_key(&client.caller, &user, &fingerprint).await?;
            output.note(&format!("{user} may no longer log in with {fingerprint}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds a public key as it was written.
pub async fn add(
    client: &Client,
    output: &Output,
    user: Option<&UserName>,
    label: Option<String>,
    text: String,
) -> Outcome {
    // What is no public key is not sent anywhere: it may be the private one.
    text.parse::<PublicKey>()?;
    let user = whom(client, user).await?;
    let key = client.people.add_key(&client.caller, &user, &AddKey { key: text, label }).await?;
    if output.json {
        output.object(&key)?;
    } else {
        output.note(&format!("{} may log in with {}", key.user, key.fingerprint));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String> {
    use std::io::Read;
    let cannot = |error| Error::invalid("FILE", format!("cannot read {}", file.display())).with_source(error);
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(cannot)?;
    opened.take(MAX_FILE).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}
