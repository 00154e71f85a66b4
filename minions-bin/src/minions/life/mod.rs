//! Verbs about the life of a VM.

pub mod ask;
pub mod change;
pub mod create;
pub mod destroy;
pub mod disk;
pub mod inspect;
pub mod list;
pub mod reach;
pub mod tags;
pub mod wait;

use std::fmt::Display;

use minions_core::api::v1::{Operation, Vm};
use minions_core::error::Result;
use minions_core::service::VmRef;
use minions_core::types::{BootMark, OperationVerb};
use serde::Serialize;

use crate::cli::Waiting;
use crate::client::Client;
use crate::follow;
use crate::output::{Failure, Output};

/// What a mutation prints with `--json`.
#[derive(Debug, Serialize)]
struct Changed<'a> {
    operation: &'a Operation,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm: Option<&'a Vm>,
}

/// Waits for an accepted mutation as long as asked, and prints what became of it. Returns the VM where it was awaited.
/// `doing` and `name` are what is done to which VM, in words.
async fn finish(
    client: &Client,
    output: &Output,
    doing: &str,
    name: &impl Display,
    operation: Operation,
    waiting: Waiting,
) -> Result<Option<Vm>, Failure> {
    let goes_on = goes_on(&operation, name);
    if waiting.no_wait {
        if output.json {
            output.object(&Changed { operation: &operation, vm: None })?;
        } else {
            output.text(&operation.id.to_string())?;
            output.note(&goes_on);
        }
        return Ok(None);
    }
    let what = format!("{doing} {name}");
    let operation = follow::operation(client, output, &what, goes_on, operation, waiting.timeout).await?;
    // By id: a tombstone has no name any more.
    let vm = client.plane.vm(&client.caller, &VmRef::Id(operation.vm)).await?;
    if output.json {
        output.object(&Changed { operation: &operation, vm: Some(&vm) })?;
    } else if waiting.timings {
        timings(output, &operation.timings)?;
    }
    Ok(Some(vm))
}

/// What whoever does not wait may do about it later.
fn goes_on(operation: &Operation, name: &impl Display) -> String {
    let wait = match operation.verb {
        OperationVerb::Create => format!("minions wait {name}; or take it back: minions destroy {name}"),
        OperationVerb::Start | OperationVerb::Restart => format!("minions wait {name}"),
        OperationVerb::Stop => format!("minions wait {name} --for stopped"),
        // Whoever is gone has no name.
        OperationVerb::Destroy => format!("minions wait {} --for gone", operation.vm),
        OperationVerb::Rename
        | OperationVerb::Resize
        | OperationVerb::Rebase
        | OperationVerb::DeleteDisk
        | OperationVerb::Expose
        | OperationVerb::Share => {
            format!("minions wait --operation {}", operation.id)
        }
    };
    format!("the {} of {name} goes on; wait for it: {wait}", operation.verb.as_str().replace('_', " "))
}

/// What took how long: each phase, with its parts below it.
fn timings(output: &Output, marks: &[BootMark]) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = marks
        .iter()
        .map(|mark| {
            let depth = if mark.is_phase() { "" } else { "  " };
            vec![format!("{depth}{}", mark.name), format!("{depth}{}.{:03}ms", mark.micros / 1000, mark.micros % 1000)]
        })
        .collect();
    output.table(&["PHASE", "TOOK"], &rows, &[])
}
