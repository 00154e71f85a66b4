//! `minions audit`.

use std::process::ExitCode;

use minions_core::error::{Error, ErrorKind};

use super::MOST;
use crate::cli::Audit;
use crate::client::Client;
use crate::clock::rfc3339;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, args: &Audit) -> Outcome {
    let (mut after, mut seen) = (args.after, 0);
    loop {
        let page = client.people.audit(&client.caller, after, 200).await?;
        seen += page.entries.len();
        for entry in &page.entries {
            if output.json {
                output.object(entry)?;
            } else {
                let (at, outcome) = (rfc3339(entry.at), &entry.outcome);
                let line = format!("{} {at} {} {} {}: {outcome}", entry.seq, entry.who, entry.action, entry.target);
                output.lines([line.as_str()])?;
            }
        }
        if page.entries.is_empty() || page.next <= after {
            return Ok(ExitCode::SUCCESS);
        }
        if seen > MOST {
            return Err(Error::new(ErrorKind::Unavailable, "the server's log does not come to an end").into());
        }
        after = page.next;
    }
}
