//! `minions completion`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::output::{Outcome, Output};

pub fn run(output: &Output, shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "minions", &mut script);
    if output.json {
        output
            .object(&serde_json::json!({ "shell": shell.to_string(), "script": String::from_utf8_lossy(&script) }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut to = io::stdout().lock();
    to.write_all(&script)?;
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}
