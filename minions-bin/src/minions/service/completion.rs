//! `minions completion`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::output::{Outcome, Output};

pub fn run(_output: &Output, shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "minions", &mut script);
    let mut to = io::stdout().lock();
    to.write_all(&script)?;
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}
