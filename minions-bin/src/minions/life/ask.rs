//! Asking before what cannot be taken back.

use std::io::{self, BufRead, IsTerminal, Write};

use minions_core::error::{Error, ErrorKind};

use crate::output::{Failure, Output};

/// Refuses where nobody can be asked. `what` is what would happen, as in "whether … ".
pub fn possible(output: &Output, what: &str) -> Result<(), Failure> {
    if output.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = format!("nobody can be asked whether {what}; if they shall, say --yes");
        return Err(Error::invalid("yes", message).into());
    }
    Ok(())
}

/// Asks, and fails where the answer is not yes. `else_` is what was not done then.
pub async fn confirm(question: String, else_: &str) -> Result<(), Failure> {
    let answer = tokio::task::spawn_blocking(move || {
        io::stderr().write_all(question.as_bytes())?;
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(|error| Error::internal("asking failed").with_source(error))??;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Denied, format!("not confirmed; {else_}")).with_reason("unconfirmed").into())
}
