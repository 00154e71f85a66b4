//! `minions schema`.

use std::process::ExitCode;

use minions_core::error::Error;
use minions_core::http::server::openapi;

use crate::output::{Outcome, Output};

pub fn run(output: &Output) -> Outcome {
    let document = openapi();
    if output.json {
        output.object(&document)?;
    } else {
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Error::internal("the document cannot be written as JSON").with_source(error))?;
        output.text(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
