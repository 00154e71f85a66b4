//! `minions version`.

use std::process::ExitCode;

use crate::client::Client;
use crate::output::{Outcome, Output};

/// This program's version, and the service's where it answers.
pub async fn run(client: Option<Client>, output: &Output) -> Outcome {
    let here = env!("CARGO_PKG_VERSION");
    let server = match client {
        Some(client) => client.version().await,
        None => Err(minions_core::Error::invalid("server", "no service is named")),
    };
    if output.json {
        output.object(&serde_json::json!({ "version": here, "server": server.ok() }))?;
    } else {
        output.text(&format!("minions {here}"))?;
        match server {
            Ok(server) => output.lines([format!("service {} (API {})", server.version, server.api).as_str()])?,
            Err(error) => output.note(&format!("no service: {}", error.chain())),
        }
    }
    Ok(ExitCode::SUCCESS)
}
