//! `minions doctor`: the same look that the daemon takes before it starts, and one at the machine itself.

use std::process::ExitCode;

use minions_core::config::{Backend, Config, Environment};
use minions_core::error::{Error, ErrorKind};
use minions_core::host::machine::Machine;
use minions_core::host::preflight::{Finding, FindingStatus};
use minions_core::setup::{self, Step};

use super::config::{find, load};
use super::init;
use crate::cli::{Doctor, Global};
use crate::output::{Failure, Outcome, Output};
use crate::serve::{UIDS, examine, folder};

pub async fn run(output: &Output, global: &Global, args: &Doctor, environment: &Environment) -> Outcome {
    let written = find(None, global.dir.as_deref(), environment);
    let config = load(written.as_deref())?;
    if args.fix {
        fix(output, global, environment, &config).await?;
    }
    let mut findings = examine(&folder(global, environment, &config)?, &config).await?;
    findings.extend(Machine::default().findings(UIDS));
    for finding in &findings {
        if output.json {
            output.object(finding)?;
        } else {
            output.text(&spell(finding))?;
        }
    }
    let failed = findings.iter().filter(|finding| finding.status == FindingStatus::Fail).count();
    if failed > 0 {
        output.note("this machine cannot run real VMs yet; simulated ones it can: minions serve --backend memory");
        return Ok(ExitCode::from(ErrorKind::Unavailable.exit_code()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Does those steps of `init` that repair; what would make something new is left to `init`.
async fn fix(output: &Output, global: &Global, environment: &Environment, config: &Config) -> Result<(), Failure> {
    if config.backend == Backend::Memory {
        output.note("simulated VMs need nothing of a machine");
        return Ok(());
    }
    let written = find(None, global.dir.as_deref(), environment).filter(|path| path.exists());
    let wish = init::of(global, environment, config, written)?;
    let found = setup::look(&wish).await?;
    if !found.root {
        return Err(Error::new(ErrorKind::Denied, "a machine is mended by root; run: sudo minions doctor --fix").into());
    }
    let steps: Vec<Step> = setup::plan(&wish, &found).steps.into_iter().filter(Step::is_repair).collect();
    if steps.is_empty() {
        output.note("there is nothing that --fix mends");
        return Ok(());
    }
    for told in steps.iter().map(Step::tell) {
        output.note(&format!("will {}: {} (undo: {})", told.what, told.why, told.undo));
    }
    init::carry_out(output, &wish, &steps).await
}

pub fn spell(finding: &Finding) -> String {
    let status = match finding.status {
        FindingStatus::Ok => "ok",
        FindingStatus::Warn => "warn",
        FindingStatus::Fail => "FAIL",
    };
    let mut text = format!("{status:4}  {:20}  {}", finding.id, finding.message);
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("\n      {:20}  fix: {fix}", ""));
    }
    text
}
