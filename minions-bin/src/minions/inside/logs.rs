//! `minions logs`.

use std::io::{self, Write};
use std::process::ExitCode;

use minions_core::service::ControlPlane;

use crate::cli::Logs;
use crate::client::Client;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, args: &Logs) -> Outcome {
    let max = usize::try_from(args.bytes).unwrap_or(usize::MAX);
    let log = client.plane.console_log(&client.caller, &args.one.vm, max).await?;
    if output.json {
        output.object(&serde_json::json!({ "log": String::from_utf8_lossy(&log) }))?;
    } else if args.raw {
        let mut to = io::stdout().lock();
        to.write_all(&log)?;
        to.flush()?;
    } else {
        // Serial lines end in a carriage return and a newline.
        let text = String::from_utf8_lossy(&log).replace("\r\n", "\n");
        output.text(text.trim_end_matches('\n'))?;
    }
    Ok(ExitCode::SUCCESS)
}
