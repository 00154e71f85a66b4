//! Talks to one agent by hand: for debugging, on the host.

mod calls;
mod cli;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use minions_core::api::guest::sanitize_terminal;
use minions_core::{Error, ErrorKind};

/// The reason of an error that is none: nobody reads our output any more.
const UNREAD: &str = "unread";

fn main() -> ExitCode {
    let words = cli::Words::parse();
    let json = words.json;
    let ended = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(calls::run(words));
            // A thread that still reads stdin has nobody left to tell.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Error::new(ErrorKind::Unavailable, "cannot start").with_source(error)),
    };
    match ended {
        Ok(code) => code,
        Err(error) if error.reason() == Some(UNREAD) => ExitCode::SUCCESS,
        Err(error) => {
            let text = if json {
                let text =
                    serde_json::json!({ "kind": error.kind(), "reason": error.reason(), "message": error.chain() });
                text.to_string()
            } else {
                format!("minions-vsock-cli: {}", error.chain())
            };
            // Whoever closed stderr does not want to know.
            let _ = writeln!(std::io::stderr(), "{}", sanitize_terminal(&text));
            ExitCode::from(error.kind().exit_code())
        }
    }
}
