//! `minions context`.

use std::path::Path;
use std::process::ExitCode;

use minions_core::config::Environment;
use minions_core::error::Error;
use serde_json::json;

use crate::cli::{self, Global};
use crate::contexts::{Context, Contexts};
use crate::output::{Outcome, Output};
use crate::place;

pub fn run(output: &Output, verb: cli::Context, global: &Global, environment: &Environment) -> Outcome {
    let mut contexts = Contexts::read(environment)?;
    match verb {
        cli::Context::List => return list(output, &contexts),
        cli::Context::Add { name } => {
            contexts.add(&name, &typed(global)?)?;
            let how = if contexts.current() == Some(&name) { "it is in use" } else { "minions context use takes it" };
            output.note(&format!("{name} is added; {how}"));
        }
        cli::Context::Use { name } => {
            contexts.choose(name.as_deref())?;
            let place = name.as_deref().unwrap_or("the service of this machine");
            output.note(&format!("{place} is in use"));
            if environment.server.is_some() || environment.dir.is_some() || environment.context.is_some() {
                output.note("but MINIONS_SERVER, MINIONS_DIR or MINIONS_CONTEXT is set, and goes first");
            }
        }
        cli::Context::Remove { name } => {
            contexts.remove(&name)?;
            output.note(&format!("{name} is forgotten"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The service that the words for everything name: what is written down must mean the same in every folder.
fn typed(global: &Global) -> Result<Context, Error> {
    let server = match (&global.server, &global.dir) {
        (Some(url), None) => url.parse()?,
        (None, Some(dir)) => place::in_dir(dir)?,
        _ => return Err(Error::invalid("server", "say where it is, with --server URL or with --dir DIR")),
    };
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| {
            Error::invalid("token-file", format!("{} cannot be found", path.display())).with_source(error)
        })
    };
    Ok(Context { server, token_file: global.token_file.as_deref().map(absolute).transpose()? })
}

fn list(output: &Output, contexts: &Contexts) -> Outcome {
    let mut rows = Vec::new();
    let mut objects = Vec::new();
    for (name, context) in contexts.all() {
        let current = contexts.current() == Some(name);
        let (server, token_file) = match context {
            Ok(context) => (context.server.to_string(), context.token_file),
            Err(error) => (format!("({error})"), None),
        };
        let token_file = token_file.map(|path| path.display().to_string());
        objects.push(json!({ "name": name, "server": server, "token_file": token_file, "current": current }));
        let mark = if current { "*" } else { "" };
        rows.push(vec![mark.to_owned(), name.to_owned(), server, token_file.unwrap_or_default()]);
    }
    if output.json {
        output.object(&json!({ "contexts": objects }))?;
    } else if rows.is_empty() {
        output.note("there are no contexts; add one with: minions context add NAME --server URL");
    } else {
        output.table(&["USED", "NAME", "SERVER", "TOKEN FILE"], &rows, &["TOKEN FILE"])?;
    }
    Ok(ExitCode::SUCCESS)
}
