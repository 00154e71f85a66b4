//! Verbs about the life of a VM.

pub mod change;
pub mod create;
pub mod destroy;
pub mod inspect;
pub mod list;
pub mod wait;

use minions_core::api::v1::{Operation, Vm};
use minions_core::error::Result;
use minions_core::service::{ControlPlane, VmRef};
use minions_core::types::BootMark;
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
async fn finish(
    client: &Client,
    output: &Output,
    what: &str,
    operation: Operation,
    waiting: Waiting,
) -> Result<Option<Vm>, Failure> {
    if waiting.no_wait {
        if output.json {
            output.object(&Changed { operation: &operation, vm: None })?;
        } else {
            output.text(&operation.id.to_string())?;
        }
        return Ok(None);
    }
    let operation = follow::operation(client, output, what, operation, waiting.timeout).await?;
    // By id: a tombstone has no name any more.
    let vm = client.plane.vm(&client.caller, &VmRef::Id(operation.vm)).await?;
    if output.json {
        output.object(&Changed { operation: &operation, vm: Some(&vm) })?;
    } else if waiting.timings {
        timings(output, &operation.timings)?;
    }
    Ok(Some(vm))
}

/// What took how long.
fn timings(output: &Output, marks: &[BootMark]) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = marks
        .iter()
        .map(|mark| vec![mark.name.to_string(), format!("{}.{:03}ms", mark.micros / 1000, mark.micros % 1000)])
        .collect();
    output.table(&["PHASE", "TOOK"], &rows)
}
