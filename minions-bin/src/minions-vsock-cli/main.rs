//! Talks to one agent by hand: for debugging, on the host.

mod calls;
mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words = cli::Words::parse();
    let json = words.json;
    match calls::run(words).await {
        Ok(code) => code,
        Err(error) => {
            if json {
                let text =
                    serde_json::json!({ "kind": error.kind(), "reason": error.reason(), "message": error.chain() });
                eprintln!("{text}");
            } else {
                eprintln!("minions-vsock-cli: {}", error.chain());
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}
