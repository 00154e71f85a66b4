//! `minions events`.

use std::process::ExitCode;
use std::time::Duration;

use minions_core::api::v1::{Event, EventBody, OperationOutcome};
use minions_core::service::ControlPlane;
use minions_core::types::EventSeq;

use crate::cli::Events;
use crate::client::Client;
use crate::clock::rfc3339;
use crate::follow::PATIENCE;
use crate::output::{Failure, Outcome, Output};

/// Events of one request.
const PAGE: usize = 200;

pub async fn run(client: &Client, output: &Output, args: &Events) -> Outcome {
    let mut after = EventSeq(args.after.unwrap_or(0));
    loop {
        let wait = if args.follow { PATIENCE } else { Duration::ZERO };
        let page = client.plane.events(&client.caller, after, PAGE, wait).await?;
        page.events.iter().try_for_each(|event| print(output, event))?;
        let more = page.next > after;
        after = page.next;
        if !more && !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print(output: &Output, event: &Event) -> Result<(), Failure> {
    if output.json {
        return output.object(event);
    }
    let what = match &event.body {
        EventBody::Accepted { operation, verb } => format!("{} accepted ({operation})", verb.as_str()),
        EventBody::Ended { operation, verb, outcome } => {
            let how = match outcome {
                OperationOutcome::Pending => "pending".to_owned(),
                OperationOutcome::Succeeded => "done".to_owned(),
                OperationOutcome::Failed { error } => format!("failed: {}", error.message),
            };
            format!("{} {how} ({operation})", verb.as_str())
        }
        EventBody::State { state, reason } => match reason {
            Some(reason) => format!("is {state}: {}", reason.message),
            None => format!("is {state}"),
        },
        EventBody::Deleted => "is gone".to_owned(),
    };
    output.lines([format!("{}  {:6}  {:20}  {what}", rfc3339(event.at), event.seq.0, event.name.as_str()).as_str()])
}
