//! `minions token`.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::ExitCode;

use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind};
use minions_core::http::token::{Token, TokenTable};
use minions_core::service::Caller;

use crate::cli;
use crate::output::{Outcome, Output};

pub fn run(output: &Output, verb: cli::Token) -> Outcome {
    let cli::Token::Create { owner, admin, file } = verb;
    let caller = if admin { Caller::admin(owner) } else { Caller::tenant(owner) };
    let token = Token::of(&Env::system().ids.next_secret());
    let line = TokenTable::line(&caller, &token.hash());
    // What cannot be read back is not written.
    TokenTable::parse(&line)?;
    let cannot =
        |error| Error::new(ErrorKind::Unavailable, format!("cannot add to {}", file.display())).with_source(error);
    let mut options = OpenOptions::new();
    let mut opened = options.read(true).append(true).create(true).mode(0o600).open(&file).map_err(cannot)?;
    // One that is there keeps its mode, and the service would not read it.
    if opened.metadata().map_err(cannot)?.mode() & 0o077 != 0 {
        let shown = file.display();
        return Err(Error::invalid(
            "file",
            format!("others may read {shown}, nothing was added; run: chmod 600 {shown}"),
        )
        .into());
    }
    let mut before = String::new();
    opened.read_to_string(&mut before).map_err(cannot)?;
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    opened.write_all(format!("{gap}{line}\n").as_bytes()).and_then(|()| opened.sync_all()).map_err(cannot)?;
    if output.json {
        output.object(&serde_json::json!({ "token": token.expose(), "owner": caller.owner, "admin": admin }))?;
    } else {
        output.text(token.expose())?;
        output.note("this is the only time it is shown; send SIGHUP to the service to let it in");
    }
    Ok(ExitCode::SUCCESS)
}
