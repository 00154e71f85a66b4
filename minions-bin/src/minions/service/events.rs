//! `minions events`.

use std::process::ExitCode;
use std::time::Duration;

use minions_core::api::v1::{Event, EventBody, EventPage, OperationOutcome};
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::types::EventSeq;
use tokio::time::Instant;

use crate::cli::{Events, Place};
use crate::client::Client;
use crate::clock::rfc3339;
use crate::follow::{EVENTS_APART, PATIENCE};
use crate::output::{Failure, Outcome, Output};
use crate::pace::Pace;

/// Events of one request.
const PAGE: usize = 200;

/// The wait before a service that went away is asked again, at first and at most.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(10);

pub async fn run(client: &Client, output: &Output, args: &Events) -> Outcome {
    let after = match (args.after, args.follow) {
        (Some(Place::After(place)), _) => EventSeq(place),
        (Some(Place::Now), _) | (None, true) => client.plane.last_event(&client.caller).await?,
        (Some(Place::Start), _) | (None, false) => EventSeq(0),
    };
    if args.follow { follow(client, output, after).await } else { show(client, output, after).await }
}

/// What there is.
async fn show(client: &Client, output: &Output, mut after: EventSeq) -> Outcome {
    loop {
        let page = client.plane.events(&client.caller, after, PAGE, Duration::ZERO).await.map_err(explained)?;
        page.events.iter().try_for_each(|event| print(output, event))?;
        if page.next <= after {
            return Ok(ExitCode::SUCCESS);
        }
        after = page.next;
    }
}

/// Whatever comes. A service that goes away is waited for, and gone on with where it was left.
async fn follow(client: &Client, output: &Output, mut after: EventSeq) -> Outcome {
    // A service that was never there is a wrong address, and said so at once.
    let mut page = client.plane.events(&client.caller, after, PAGE, Duration::ZERO).await.map_err(explained)?;
    output.note(&format!("what happens after event {}; Ctrl-C ends it", after.0));
    let mut pace = Pace::new(EVENTS_APART);
    loop {
        page.events.iter().try_for_each(|event| print(output, event))?;
        after = after.max(page.next);
        let begun = Instant::now();
        page = match client.plane.events(&client.caller, after, PAGE, PATIENCE).await {
            Ok(page) => page,
            Err(error) if error.kind().is_transient() => {
                output.note(&format!("no word of the service: {}; it is asked again and again", error.chain()));
                let last = back(client).await?;
                if last < after {
                    output.note("the service is back, and counts its events anew: from the first one on");
                    after = EventSeq(0);
                } else {
                    output.note(&format!("the service is back; on after event {}", after.0));
                }
                EventPage { events: Vec::new(), next: after }
            }
            Err(error) => return Err(explained(error).into()),
        };
        pace.keep(begun, PATIENCE).await;
    }
}

/// Until the service answers: the number of its last event.
async fn back(client: &Client) -> Result<EventSeq> {
    let mut wait = RETRY;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MOST);
        match client.plane.last_event(&client.caller).await {
            Err(error) if error.kind().is_transient() => {}
            answered => return answered,
        }
    }
}

/// What to do where events are no longer kept.
fn explained(error: Error) -> Error {
    if error.reason() != Some("events_pruned") {
        return error;
    }
    let message = format!(
        "{}; minions list tells how things are, --after start begins with what is kept, --after now with what comes",
        error.message()
    );
    Error::new(ErrorKind::NotFound, message).with_reason("events_pruned").with_field("after")
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
    output.lines([format!("{}  {:5}  {:12}  {what}", rfc3339(event.at), event.seq.0, event.name.as_str()).as_str()])
}
