//! Asking before what cannot be taken back.

use minions_core::error::{Error, ErrorKind};

use crate::output::{Failure, Output};

/// Refuses where nobody can be asked. `what` is what would happen, as in "whether … ".
pub fn possible(output: &Output, what: &str) -> Result<(), Failure> {
    if output.json || !output.to.asks() {
        let message = format!("nobody can be asked whether {what}; if they shall, say --yes");
        return Err(Error::invalid("yes", message).into());
    }
    Ok(())
}

/// Asks, and fails where the answer is not yes. `else_` is what was not done then.
pub async fn confirm(output: &Output, question: String, else_: &str) -> Result<(), Failure> {
    let answer = output.to.ask(question).await?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Denied, format!("not confirmed; {else_}")).with_reason("unconfirmed").into())
}
